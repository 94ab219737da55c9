package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
)

// An exchange as one end saw it.
type exchanged struct {
	Id       string `json:"id"`
	Method   string `json:"method"`
	Target   string `json:"target"`
	Protocol string `json:"protocol"`
	Status   int    `json:"status"`
	Sent     []byte `json:"request_body"`
	Got      []byte `json:"response_body"`
	Local    string `json:"local"`
	Peer     string `json:"peer"`
}

type journal struct {
	sync.Mutex
	file *os.File
}

func (j *journal) write(one exchanged) {
	j.Lock()
	defer j.Unlock()
	check(json.NewEncoder(j.file).Encode(one))
}

func newJournal(path string) *journal {
	file, err := os.Create(path)
	check(err)
	return &journal{file: file}
}

// Answers with what came, and says on which port until it is ended.
func serve(path string) {
	log := newJournal(path)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	handle := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/tiny" {
			io.WriteString(w, `{"ok":true}`)
			return
		}
		if r.URL.Path == "/large" {
			w.Write(make([]byte, 100<<10))
			return
		}
		answer := append([]byte(r.Method+" "), body...)
		w.Header().Set("content-type", "application/octet-stream")
		w.WriteHeader(http.StatusAccepted)
		log.write(exchanged{r.Header.Get("x-request-id"), r.Method, r.RequestURI,
			strings.ToLower(r.Proto), http.StatusAccepted, body, answer,
			r.Context().Value(http.LocalAddrContextKey).(net.Addr).String(), r.RemoteAddr})
		w.Write(answer)
	}
	server := &http.Server{Handler: http.HandlerFunc(handle), TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}}}
	check(server.ServeTLS(listener, "", ""))
}

var sizes = []int{0, 1, 16 << 10, 100 << 10, 5000}

const beyond = 1<<20 + 17

func fill(name string, size int) []byte {
	line := []byte(name + " and more; ")
	return bytes.Repeat(line, size/len(line)+1)[:size]
}

// As many requests, one after the other on one connection: client PORT LOG PREFIX COUNT [second]
func request(words []string) {
	var count int
	fmt.Sscan(words[3], &count)
	second := len(words) > 4
	log := newJournal(words[1])
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: second}
	client := &http.Client{Transport: transport}
	for n := 0; n < count; n++ {
		name := fmt.Sprintf("%s-%03d", words[2], n)
		body := fill(name, sizes[n%len(sizes)])
		if n == 7 {
			body = fill(name, beyond)
		}
		method := "POST"
		var sent io.Reader = bytes.NewReader(body)
		if len(body) == 0 {
			method, sent = "GET", nil
		}
		one := exchanged{Id: name, Method: method, Target: "/echo/" + name + "?n=1", Sent: body}
		trace := &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
			one.Local, one.Peer = got.Conn.LocalAddr().String(), got.Conn.RemoteAddr().String()
		}}
		r, err := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace),
			method, "https://127.0.0.1:"+words[0]+one.Target, sent)
		check(err)
		r.Header.Set("x-request-id", name)
		response, err := client.Do(r)
		check(err)
		one.Got, err = io.ReadAll(response.Body)
		check(err)
		one.Status, one.Protocol = response.StatusCode, strings.ToLower(response.Proto)
		log.write(one)
	}
	transport.CloseIdleConnections()
}
