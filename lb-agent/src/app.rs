//! Wiring: the only file that names all stages. Start-up order, hand-over of snapshots, shutdown.
