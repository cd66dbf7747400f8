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
	http := hopServer(b, plain.Serve, func() { plain.Close() })
	return map[string]string{"http": http, "http2": http, "grpc": hopServer(b, rpc.Serve, rpc.Stop)}
}

func hopServer(b *testing.B, serve func(net.Listener) error, stop func()) (address string) {
	b.Helper()
	l, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = serve(l) })
	b.Cleanup(func() {
		stop()
		serving.Wait()
	})
	return l.Addr().String()
}
