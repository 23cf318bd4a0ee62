//! Every metric that the agent exports: names, help texts and labels stand here and nowhere else.
