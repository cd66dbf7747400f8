package bench

import (
	"net"
	"net/http"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// hopServers starts the applications of the hop and returns their addresses by protocol.
func hopServers(b *testing.B) map[string]string {
	b.Helper()
	return hopServersOn(b, func(string) net.Listener {
		l, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		return l
	})
}

// hopServersOn starts them where they are told to listen, by protocol.
func hopServersOn(b *testing.B, listen func(protocol string) net.Listener) map[string]string {
	b.Helper()
	body := make([]byte, hopBody)
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	plain := &http.Server{Protocols: &protocols, ReadHeaderTimeout: hopBound, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) },
	)}
	rpc := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
			return err
		}
		return stream.SendMsg(wrapperspb.Bytes(body))
	}))
	addresses := map[string]string{}
	for protocol, serve := range map[string]func(net.Listener) error{"http": plain.Serve, "http2": plain.Serve, "grpc": rpc.Serve} {
		stop := func() { plain.Close() }
		if protocol == "grpc" {
			stop = rpc.Stop
		}
		addresses[protocol] = hopServer(b, listen(protocol), serve, stop)
	}
	return addresses
}

func hopServer(b *testing.B, l net.Listener, serve func(net.Listener) error, stop func()) (address string) {
	b.Helper()
	var serving sync.WaitGroup
	serving.Go(func() { _ = serve(l) })
	b.Cleanup(func() {
		stop()
		serving.Wait()
	})
	return l.Addr().String()
}
