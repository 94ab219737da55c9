// A server over HTTP/1.1 and HTTP/2 with Go's TLS. Arguments: certificate, key, port. A line of JSON
// for each answer: protocol, method, path, status, bytes.
package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
)

var (
	writing sync.Mutex
	lines   = json.NewEncoder(os.Stdout)
)

type counted struct {
	http.ResponseWriter
	status, size int
}

func (c *counted) WriteHeader(status int) {
	if status >= 200 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *counted) Write(data []byte) (int, error) {
	c.size += len(data)
	return c.ResponseWriter.Write(data)
}

func answer(w *counted, r *http.Request) {
	received, _ := io.Copy(io.Discard, r.Body)
	switch {
	case r.Method == "HEAD":
		w.Header().Set("Content-Length", "99")
	case r.URL.Path == "/none":
		w.WriteHeader(204)
	case r.URL.Path == "/missing":
		w.WriteHeader(404)
	case r.URL.Path == "/hints":
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(103)
		io.WriteString(w, "hinted")
	case r.URL.Path == "/trailers":
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, "with trailers")
		w.Header().Set("X-Sum", "13")
	case r.URL.Path == "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		for n := 0; n < 3; n++ {
			io.WriteString(w, "data: event\n\n")
			w.ResponseWriter.(http.Flusher).Flush()
		}
	case r.URL.Path == "/large":
		w.Write(bytes.Repeat([]byte("large-"), 3000))
	default:
		io.WriteString(w, strings.Repeat("b", int(received)+2))
	}
}

func main() {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &counted{w, 200, 0}
		answer(c, r)
		writing.Lock()
		defer writing.Unlock()
		lines.Encode([]any{strings.ToLower(r.Proto), r.Method, r.URL.String(), c.status, c.size})
	})
	panic(http.ListenAndServeTLS("127.0.0.1:"+os.Args[3], os.Args[1], os.Args[2], handler))
}
