module edgelb.dev/tests/backend

go 1.26.0
