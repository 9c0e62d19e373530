package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/iotest"
)

// A body that is in memory goes out from there, and never through the readers
// that the SDK has laid around it.
func TestABodyInMemoryIsSentFromWhereItIs(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	}))
	defer srv.Close()
	client := httpClient()
	for _, size := range []int{1, 100, 128<<10 - 1, 128 << 10, 1 << 20, 5_000_000} {
		for _, expect := range []string{"", "100-continue"} {
			t.Run(fmt.Sprintf("%d%s", size, expect), func(t *testing.T) {
				body := clipOf(max(size, 100), 1)[:size]
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, srv.URL, iotest.ErrReader(errors.New("read through the SDK")))
				if err != nil {
					t.Fatal(err)
				}
				req.ContentLength = int64(size)
				if expect != "" {
					req.Header.Set("Expect", expect)
				}
				resp, err := memoryClient{client, &payload{body: body}}.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, body) {
					t.Fatalf("%d of %d bytes arrived, or other ones; %v", len(got), size, err)
				}
			})
		}
	}
}
