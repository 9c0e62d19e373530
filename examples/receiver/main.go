// Command receiver takes webhooks, verifies their signatures and prints what
// ended. It needs nothing but the standard library:
//
//	export WEBHOOK_SECRET=whsec_…          # one of CLIPFERRY_WEBHOOK_SECRETS
//	go run ./examples/receiver -listen 127.0.0.1:9000
//	clipferry enqueue --project-id proj_abc123 --notify-webhook http://127.0.0.1:9000/
//
// A private address such as that one has to be allowed: CLIPFERRY_WEBHOOK_ALLOWED_CIDRS.
// clipferry-dev --serve allows it, and prints its secret.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:9000", "where to listen")
	flag.Parse()
	handler, err := newReceiver(os.Getenv("WEBHOOK_SECRET"), os.Stdout)
	if err == nil {
		server := &http.Server{Addr: *listen, Handler: handler, ReadTimeout: 10 * time.Second}
		err = server.ListenAndServe()
	}
	fmt.Fprintln(os.Stderr, "receiver:", err)
	os.Exit(1)
}

// event is the part of a notification that most receivers need.
type event struct {
	ID   string `json:"id"`
	Type string `json:"type"` // export.archived, export.failed, batch.completed, …
	Data struct {
		// Of an export:
		ID       string `json:"id"`
		State    string `json:"state"`
		Manifest string `json:"manifest"` // its key in S3
		Error    string `json:"error"`
		// Of a batch:
		Batch   string         `json:"batch"`
		Members int            `json:"members"`
		States  map[string]int `json:"states"` // how many members ended in which
	} `json:"data"`
}

type receiver struct {
	key []byte
	out io.Writer
	now func() time.Time
}

func newReceiver(secret string, out io.Writer) (*receiver, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(key) == 0 {
		return nil, errors.New("WEBHOOK_SECRET is not whsec_ and base64")
	}
	return &receiver{key: key, out: out, now: time.Now}, nil
}

// ServeHTTP answers 2xx once the event is safe with you; anything else is sent
// again, for about a day.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 1<<20))
	if err != nil {
		http.Error(w, "the body can't be read", http.StatusBadRequest)
		return
	}
	if err := r.verify(req.Header, body); err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	var e event
	if err := json.Unmarshal(body, &e); err != nil {
		http.Error(w, "the body is no event", http.StatusBadRequest)
		return
	}
	// Put it into your database or queue here, under the unique key e.ID: the same
	// event may come more than once. Do the work afterwards.
	switch d := e.Data; {
	case d.Batch != "":
		fmt.Fprintln(r.out, e.Type, d.Batch, d.Members, d.States)
	default:
		fmt.Fprintln(r.out, e.Type, d.ID, d.State, d.Manifest, d.Error)
	}
	w.WriteHeader(http.StatusNoContent)
}

// verify follows Standard Webhooks.
func (r *receiver) verify(h http.Header, body []byte) error {
	id, timestamp := h.Get("webhook-id"), h.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if age := r.now().Sub(time.Unix(seconds, 0)); err != nil || age.Abs() > 5*time.Minute {
		return errors.New("webhook-timestamp is missing or more than five minutes off")
	}
	mac := hmac.New(sha256.New, r.key)
	fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	want := []byte("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	for signature := range strings.FieldsSeq(h.Get("webhook-signature")) {
		if hmac.Equal(want, []byte(signature)) {
			return nil
		}
	}
	return errors.New("webhook-signature is not ours")
}
