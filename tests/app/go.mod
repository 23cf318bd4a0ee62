module edgelb.dev/tests/app

go 1.26.0
