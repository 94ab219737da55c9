// A gRPC server and a client of the four kinds of calls, over TLS; the client prints a line of JSON
// for each call: path, messages sent, messages received, status.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"
)

// Messages are plain bytes: what they say is of no concern here.
type plain struct{}

func (plain) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (plain) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte{}, data...)
	return nil
}
func (plain) Name() string { return "proto" }

func answer(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	for {
		var message []byte
		if err := stream.RecvMsg(&message); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		if strings.HasSuffix(method, "Both") {
			stream.SendMsg(&message)
		}
	}
	reply := []byte(strings.Repeat("reply ", 10))
	switch method[strings.LastIndex(method, "/")+1:] {
	case "Unary", "Up":
		return stream.SendMsg(&reply)
	case "Down":
		for n := 0; n < 5; n++ {
			stream.SendMsg(&reply)
		}
	case "Fail":
		return status.Error(codes.NotFound, "no such thing")
	}
	return nil
}

func serve(certificate, key string) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[4])
	if err != nil {
		panic(err)
	}
	creds := credentials.NewServerTLSFromCert(&pair)
	panic(grpc.NewServer(grpc.Creds(creds), grpc.UnknownServiceHandler(answer)).Serve(listener))
}

func call(connection *grpc.ClientConn, method string, count, size int, options ...grpc.CallOption) {
	description := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := connection.NewStream(context.Background(), description, "/shop.Cart/"+method, options...)
	if err != nil {
		panic(err)
	}
	message := []byte(strings.Repeat("m", size))
	for n := 0; n < count; n++ {
		if err := stream.SendMsg(&message); err != nil {
			break
		}
	}
	stream.CloseSend()
	received := 0
	for {
		var got []byte
		if err = stream.RecvMsg(&got); err != nil {
			break
		}
		received++
	}
	code := status.Code(err)
	if err == io.EOF {
		code = codes.OK
	}
	json.NewEncoder(os.Stdout).Encode([]any{"/shop.Cart/" + method, count, received, int(code)})
}

func main() {
	encoding.RegisterCodec(plain{})
	if os.Args[1] == "serve" {
		serve(os.Args[2], os.Args[3])
	}
	creds := credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	connection, err := grpc.NewClient(os.Args[2], grpc.WithTransportCredentials(creds))
	if err != nil {
		panic(err)
	}
	call(connection, "Unary", 1, 20)
	call(connection, "Unary", 1, 0)
	call(connection, "Unary", 1, 80_000)
	call(connection, "Unary", 1, 5_000, grpc.UseCompressor("gzip"))
	call(connection, "Up", 7, 1000)
	call(connection, "Down", 1, 10)
	call(connection, "Both", 4, 9_000)
	call(connection, "Fail", 1, 3)
}
