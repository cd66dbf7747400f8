package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// A token is asked for in the form that is documented, and shows itself to nobody who prints it.
func TestJoinToken(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 1)
	client := api.NewClient(serve(t, func(w http.ResponseWriter, r *http.Request) {
		var body json.RawMessage
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		asked <- r.Method + " " + r.URL.Path + " " + string(body)
		fmt.Fprint(w, `{"token": "the secret", "expires": "2026-01-02T03:04:05Z"}`)
	}))
	token, err := client.NewToken(t.Context(), api.NewToken{
		Workload: "reviews-v2-0", Namespace: "default", Account: "reviews", Address: "127.9.8.7", TTL: mesh.Duration(time.Minute),
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = `POST /v1/ca/tokens {"workload":"reviews-v2-0","namespace":"default","account":"reviews","address":"127.9.8.7","ttl":"1m0s"}`
	if got := <-asked; got != want {
		t.Errorf("asked %s\nwant  %s", got, want)
	}
	if token.Token != "the secret" || !token.Expires.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Errorf("token %q until %s", token.Token, token.Expires)
	}
	for _, text := range []string{fmt.Sprint(token), fmt.Sprintf("%v %+v %#v %s", token, token, &token, []api.JoinToken{token})} {
		if strings.Contains(text, "secret") || !strings.Contains(text, "2026-01-02") {
			t.Errorf("a token is printed as %s", text)
		}
	}
}
