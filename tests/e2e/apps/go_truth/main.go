// What Go's crypto/tls is called with, written down by the caller: an end of a connection is a pair
// of files, NAME.sent and NAME.received, as tests/support/truths.py reads them.
//
//	truth CERTIFICATE SCENARIO…     in the folder where the files are to be; the word go begins it
//	truth CERTIFICATE midway|endless   these say ready
//	truth CERTIFICATE serve LOG
//	truth CERTIFICATE request PORT LOG PREFIX COUNT [second]
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"runtime"
	"sync"
	"time"
)

const (
	many    = 24
	most    = 120000 // bytes that a direction of one of many connections carries
	huge    = 3<<20 + 5
	moved   = 300 // reads on stacks that move
	piece   = 200
	dropped = 60
	pause   = 5 * time.Millisecond // between echoes: who looks on needs the processor, too
)

var certificate tls.Certificate

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// An end writes down what its calls say that they did.
type end struct {
	*tls.Conn
	sent, received *os.File
}

func newEnd(name string, conn *tls.Conn) *end {
	sent, err := os.Create(name + ".sent")
	check(err)
	received, err := os.Create(name + ".received")
	check(err)
	return &end{conn, sent, received}
}

func (e *end) Write(data []byte) (int, error) {
	n, err := e.Conn.Write(data)
	e.sent.Write(data[:n])
	return n, err
}

func (e *end) Read(data []byte) (int, error) {
	n, err := e.Conn.Read(data)
	e.received.Write(data[:n])
	return n, err
}

func (e *end) Close() error {
	defer e.done()
	return e.Conn.Close()
}

func (e *end) done() {
	e.sent.Close()
	e.received.Close()
}

// Two ends of one connection over TCP; `version` is the highest of TLS.
func pair(name string, version uint16) (client, server *end) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	defer listener.Close()
	accepted := make(chan net.Conn)
	go func() {
		conn, err := listener.Accept()
		check(err)
		accepted <- conn
	}()
	dialled, err := net.Dial("tcp", listener.Addr().String())
	check(err)
	inner := tls.Client(dialled, &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
	outer := tls.Server(<-accepted, &tls.Config{
		Certificates: []tls.Certificate{certificate}, MaxVersion: version})
	return newEnd(name+"-client", inner), newEnd(name+"-server", outer)
}

func noise(source *rand.Rand, size int) []byte {
	data := make([]byte, size)
	source.Read(data)
	return data
}

// Chunks of all sizes both ways at once, on many goroutines.
func talk() {
	var all sync.WaitGroup
	for n := 0; n < many; n++ {
		client, server := pair(fmt.Sprintf("many%02d", n), tls.VersionTLS13)
		for number, one := range []*end{client, server} {
			all.Add(2)
			go func(one *end, source *rand.Rand) {
				defer all.Done()
				for left := most; left > 0; {
					size := 1 + source.Intn(40000)
					if size > left {
						size = left
					}
					_, err := one.Write(noise(source, size))
					check(err)
					left -= size
				}
			}(one, rand.New(rand.NewSource(int64(2*n+number))))
			go func(one *end, size int) {
				defer all.Done()
				buffer := make([]byte, size)
				for got := 0; got < most; {
					n, err := one.Read(buffer)
					check(err)
					got += n
				}
			}(one, 900*(n+1))
		}
		defer client.Close()
		defer server.Close()
	}
	all.Wait()
}

//go:noinline
func deep(one *end, depth int) int {
	var frame [64]byte
	frame[depth%64] = byte(depth)
	if depth > 0 {
		return deep(one, depth-1) + int(frame[(depth+1)%64])
	}
	var buffer [piece]byte // stays on the goroutine's stack
	n, err := one.Conn.Read(buffer[:])
	check(err)
	one.received.Write(buffer[:n])
	return n
}

// Reads into the stack of new goroutines, which Read itself makes too small: the runtime moves it.
func move() {
	client, server := pair("moved", tls.VersionTLS13)
	source := rand.New(rand.NewSource(7))
	go func() {
		for n := 0; n < moved; n++ {
			_, err := client.Write(noise(source, piece))
			check(err)
		}
	}()
	for got := 0; got < moved*piece; {
		n := make(chan int)
		go func(depth int) { n <- deep(server, depth) }(got % 41)
		got += <-n
	}
	client.Close()
	server.Close()
}

// A call of more than any record, and memory that was never touched.
func large() {
	client, server := pair("large", tls.VersionTLS13)
	done := make(chan bool)
	go func() {
		io.Copy(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{server})
		done <- true
	}()
	_, err := client.Write(make([]byte, huge))
	check(err)
	client.CloseWrite()
	<-done
	client.Close()
	server.Close()
}

// Bytes that come together with the end: n > 0 and an error in one return (TLS 1.2).
func ending() {
	client, server := pair("ending", tls.VersionTLS12)
	ready, closed := make(chan bool), make(chan bool)
	go func() {
		check(server.Handshake())
		<-ready // else the handshake's last read may take some of what follows with it
		_, err := server.Write([]byte("some last words before the end\n"))
		check(err)
		server.Close()
		closed <- true
	}()
	check(client.Handshake())
	ready <- true
	<-closed
	buffer := make([]byte, 1000)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			fmt.Println("with an error:", n)
			break
		}
	}
	client.Close()
}

// A Write that the peer's end cuts short says how much it wrote.
func cut() {
	client, server := pair("cut", tls.VersionTLS13)
	go func() {
		var buffer [1000]byte
		server.Read(buffer[:])
		server.NetConn().Close()
		server.done()
	}()
	n, err := client.Write(make([]byte, 64<<20))
	fmt.Println("cut short:", n > 0 && err != nil)
	client.NetConn().Close()
	client.done()
}

// Connections that are dropped, not closed: their memory is soon another's.
func drop() {
	for n := 0; n < dropped; n++ {
		client, server := pair(fmt.Sprintf("dropped%02d", n), tls.VersionTLS13)
		said := make(chan bool)
		go func() {
			buffer := make([]byte, 100)
			server.Read(buffer)
			server.Write(buffer[:10])
			said <- true
		}()
		fmt.Fprintf(client, "the words of connection %02d", n)
		client.Read(make([]byte, 100))
		<-said
		client.NetConn().Close()
		server.NetConn().Close()
		client.done()
		server.done()
		runtime.GC()
	}
}

// TLS within TLS: the inner connection's bytes are the outer's, in another shape.
func nest() {
	client, server := pair("outer", tls.VersionTLS13)
	inner := newEnd("inner-client", tls.Client(client, &tls.Config{InsecureSkipVerify: true}))
	other := newEnd("inner-server", tls.Server(server, &tls.Config{
		Certificates: []tls.Certificate{certificate}}))
	said := make(chan bool)
	go func() {
		io.WriteString(inner, "hello from within")
		said <- true
	}()
	io.ReadFull(other, make([]byte, 17))
	<-said
	inner.done()
	other.done()
	client.Close()
	server.Close()
}

// One end is in a Read, and so is the other's goroutine, as the probes come.
func midway() {
	client, server := pair("midway", tls.VersionTLS13)
	heard := make(chan bool)
	go func() {
		buffer := make([]byte, 1000)
		for {
			n, err := server.Conn.Read(buffer)
			if err != nil {
				return
			}
			if string(buffer[:n]) != "before" {
				server.received.Write(buffer[:n])
			}
			heard <- true
		}
	}()
	_, err := client.Conn.Write([]byte("before"))
	check(err)
	<-heard
	fmt.Println("ready")
	in := bufio.NewReader(os.Stdin)
	in.ReadString('\n')
	_, err = client.Write([]byte("the first words that the probes see"))
	check(err)
	<-heard
	client.Close()
	server.Close()
}

// Echoes on many connections until stdin ends; whoever hears something else than it said panics.
func endless() {
	over := make(chan bool)
	var all sync.WaitGroup
	for n := 0; n < many; n++ {
		client, server := pair(fmt.Sprintf("endless%02d", n), tls.VersionTLS13)
		all.Add(2)
		go func() {
			defer all.Done()
			io.Copy(struct{ io.Writer }{server.Conn}, struct{ io.Reader }{server.Conn})
			server.Close()
		}()
		go func(n int) {
			defer all.Done()
			defer client.Close()
			said, heard := fill(fmt.Sprint(n), 100+97*n), make([]byte, 100+97*n)
			for {
				select {
				case <-over:
					return
				default:
				}
				_, err := client.Conn.Write(said)
				check(err)
				_, err = io.ReadFull(client.Conn, heard)
				check(err)
				if !bytes.Equal(said, heard) {
					panic("another's words")
				}
				time.Sleep(pause)
			}
		}(n)
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	close(over)
	all.Wait()
}

func main() {
	var err error
	certificate, err = tls.LoadX509KeyPair(os.Args[1], os.Args[1])
	check(err)
	switch os.Args[2] {
	case "serve":
		serve(os.Args[3])
		return
	case "request":
		request(os.Args[3:])
		return
	}
	alone := map[string]func(){"midway": midway, "endless": endless}
	if scenario := alone[os.Args[2]]; scenario != nil {
		scenario()
		return
	}
	bufio.NewReader(os.Stdin).ReadString('\n')
	scenarios := map[string]func(){"talk": talk, "move": move, "large": large,
		"ending": ending, "cut": cut, "drop": drop, "nest": nest}
	for _, name := range os.Args[2:] {
		scenarios[name]()
	}
}
