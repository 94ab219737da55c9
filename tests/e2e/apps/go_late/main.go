// A Write that is under way as its Conn is closed, and ends well after that: the transport holds it
// until Close has come, and then lets it through.
//
//	late CERTIFICATE    in the folder where late.sent is to be; it waits for a line
package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

type transport struct {
	net.Conn
	holding      int32
	held, closed chan bool
}

func (t *transport) Write(data []byte) (int, error) {
	if atomic.LoadInt32(&t.holding) == 1 {
		t.held <- true
		<-t.closed
	}
	return t.Conn.Write(data)
}

func (t *transport) Close() error {
	close(t.closed)
	return nil
}

func main() {
	certificate, err := tls.LoadX509KeyPair(os.Args[1], os.Args[1])
	check(err)
	bufio.NewReader(os.Stdin).ReadString('\n')
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	over := make(chan bool)
	go func() {
		conn, err := listener.Accept()
		check(err)
		server := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}})
		check(server.Handshake())
		over <- true
		_, err = io.ReadFull(server, make([]byte, len("in time")))
		check(err)
		<-over
	}()
	dialled, err := net.Dial("tcp", listener.Addr().String())
	check(err)
	below := &transport{Conn: dialled, held: make(chan bool), closed: make(chan bool)}
	client := tls.Client(below, &tls.Config{InsecureSkipVerify: true})
	check(client.Handshake())
	<-over
	_, err = client.Write([]byte("in time"))
	check(err)
	atomic.StoreInt32(&below.holding, 1)
	written := make(chan int)
	go func() {
		n, _ := client.Write([]byte("much too late"))
		written <- n
	}()
	<-below.held
	client.Close()
	fmt.Println(<-written)
	over <- true
}
