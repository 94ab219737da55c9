// Requests over HTTP/1.1 and HTTP/2 with Go's own TLS; a line of JSON for each answer.
package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
)

func main() {
	base := os.Args[1]
	var lock sync.Mutex
	for _, second := range []bool{false, true} {
		transport := &http.Transport{
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
			ForceAttemptHTTP2: second,
		}
		client := &http.Client{Transport: transport}
		send := func(method, path string, body io.Reader) {
			request, _ := http.NewRequest(method, base+path, body)
			response, err := client.Do(request)
			if err != nil {
				panic(err)
			}
			got, _ := io.ReadAll(response.Body)
			response.Body.Close()
			lock.Lock()
			defer lock.Unlock()
			json.NewEncoder(os.Stdout).Encode([]any{
				strings.ToLower(response.Proto), method, path, response.StatusCode, len(got)})
		}
		send("GET", "/first", nil)
		var all sync.WaitGroup
		for n := 0; n < 10; n++ {
			all.Add(1)
			go func(n int) {
				defer all.Done()
				send("PUT", "/put/"+string(rune('a'+n)), bytes.NewReader(bytes.Repeat([]byte("z"), n*1500)))
			}(n)
		}
		all.Wait()
		send("POST", "/chunked", io.MultiReader(strings.NewReader("a"), strings.NewReader("bc")))
		send("GET", "/large", nil)
		send("HEAD", "/head", nil)
	}
}
