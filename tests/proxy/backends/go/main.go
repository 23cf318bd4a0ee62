// Counts the requests that it sees, and those to /smuggled; says how many.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
)

func main() {
	var count, smuggled atomic.Int64
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		seen := count.Add(1)
		if r.URL.Path == "/smuggled" {
			smuggled.Add(1)
		}
		io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d %d", seen, smuggled.Load())
	})
	fmt.Fprintln(os.Stderr, http.ListenAndServe(os.Args[1], nil))
	os.Exit(1)
}
