//! Scripted watches: whatever they tell, and in whatever order, the state is that of the objects that are left.
