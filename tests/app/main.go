// The program in the test cluster's containers, one static file: "pause" sleeps and reaps, "web" answers HTTP,
// "get URL..." asks.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: app pause | web | get URL...")
		os.Exit(2)
	}
	switch os.Args[1] {
	case "pause":
		pause(signals)
	case "web":
		web(signals)
	case "get":
		get(os.Args[2:])
	}
}

// pause is what a sandbox runs: it holds the pod's namespaces, and reaps what others leave.
func pause(signals <-chan os.Signal) {
	children := make(chan os.Signal, 64)
	signal.Notify(children, syscall.SIGCHLD)
	for {
		select {
		case <-signals:
			return
		case <-children:
			for {
				if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
					break
				}
			}
		}
	}
}

// web answers with the pod's name. LISTEN is the address (":8080"); READY_DELAY the time until /ready says yes;
// DRAIN the time that it goes on to answer after SIGTERM, while /ready says no.
func web(signals <-chan os.Signal) {
	host, _ := os.Hostname()
	start := time.Now()
	delay := duration("READY_DELAY")
	var stopping atomic.Bool
	http.HandleFunc("/ready", func(w http.ResponseWriter, r *http.Request) {
		if stopping.Load() || time.Since(start) < delay {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	http.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		wait, _ := time.ParseDuration(r.URL.Query().Get("for"))
		time.Sleep(min(wait, time.Minute))
		fmt.Fprintln(w, host)
	})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Pod", host)
		fmt.Fprintf(w, "%s %s %s host=%s from=%s\n", host, r.Method, r.URL.Path, r.Host, r.RemoteAddr)
	})
	address := os.Getenv("LISTEN")
	if address == "" {
		address = ":8080"
	}
	server := &http.Server{Addr: address}
	stopped := make(chan struct{})
	go func() {
		<-signals
		stopping.Store(true)
		time.Sleep(duration("DRAIN"))
		server.Shutdown(context.Background())
		close(stopped)
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	<-stopped
}

// get asks each URL once, with the service account's token if there is one.
func get(urls []string) {
	token, _ := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/token")
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	client := &http.Client{Timeout: 3 * time.Second, Transport: transport}
	failed := false
	for _, url := range urls {
		if err := ask(client, url, string(token)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

func ask(client *http.Client, url, token string) error {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	fmt.Print(response.StatusCode, " ")
	_, err = io.Copy(os.Stdout, io.LimitReader(response.Body, 4096))
	return err
}

func duration(name string) time.Duration {
	value, _ := time.ParseDuration(os.Getenv(name))
	return value
}
