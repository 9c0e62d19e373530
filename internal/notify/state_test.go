package notify

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/queue"
)

// A notification is shown from its end to its delivery, or to its last failure.
func TestWhatBecameOfANotification(t *testing.T) {
	f := newFixture(t)
	to := newReceiver(t)
	to.answers = []http.HandlerFunc{status(500)}
	r := f.archived("order-17", `{"webhook":"`+to.URL+`/hook/hush?token=hush"}`)
	of := func(r *export.Record) *Notification {
		t.Helper()
		n, err := NewReader(f.rdb).Of(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(n.Error+n.To, "hush") {
			t.Errorf("the address is shown: %+v", n)
		}
		return n
	}
	ended := func(r *export.Record) {
		t.Helper()
		if err := f.Ended(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	host := strings.TrimPrefix(to.URL, "http://")
	if n := of(r); n.State != Pending || n.Tries != 0 || n.To != host || n.Event != eventID(r) {
		t.Errorf("before anything: %+v", n)
	}
	ended(r)
	if n := of(r); n.State != Pending || n.Tries != 0 {
		t.Errorf("in the queue: %+v", n)
	}
	if _, err := f.run(); err != nil {
		t.Fatal(err)
	}
	if n := of(r); n.State != Pending || n.Tries != 1 || n.NextTry == nil || time.Until(*n.NextTry) > time.Minute || !strings.Contains(n.Error, "500") {
		t.Errorf("after a call that failed: %+v", n)
	}
	if _, err := f.run(); err != nil {
		t.Fatal(err)
	}
	ended(r) // changes nothing any more
	if n := of(r); n.State != WasSent || n.Tries != 2 || n.Error != "" || len(f.in(queue.Notify)) != 0 {
		t.Errorf("delivered: %+v", n)
	}

	refused := &Notification{State: Pending, Error: "10.0.0.7 is not allowed"}
	if c := refused.ForClients(); strings.Contains(c.Error, "10.0.0.7") || refused.Error == c.Error {
		t.Errorf("clients see what a name leads to: %+v", c)
	}
	said := &Notification{State: Pending, Error: "the receiver answered 500 Internal Server Error"}
	if c := said.ForClients(); c.Error != said.Error {
		t.Errorf("%+v", c)
	}

	late := f.archived("late", `{"webhook":"`+to.URL+`"}`)
	ended(late)
	if err := f.inspect.ArchiveTask(queue.Notify, f.in(queue.Notify)[0].ID); err != nil {
		t.Fatal(err)
	}
	if n := of(late); n.State != Abandoned || n.Tries != 1 {
		t.Errorf("a dead letter: %+v", n)
	}
	if err := f.inspect.DeleteTask(queue.Notify, "notify:"+eventID(late)+":0"); err != nil {
		t.Fatal(err)
	}
	if n := of(late); n.State != Unknown {
		t.Errorf("removed by hand: %+v", n)
	}

	task := f.archived("task", `{"task_type":"video:exported"}`)
	ended(task)
	if n := of(task); n.State != WasSent || n.To != "video:exported" || len(f.in("default")) != 1 {
		t.Errorf("a task: %+v", n)
	}
	if n, err := NewReader(f.rdb).Of(t.Context(), f.archived("nobody", "")); n != nil || err != nil {
		t.Errorf("nobody wants to know: %+v, %v", n, err)
	}
}

// A call that is made before its export's step has kept that it is on its way stays
// delivered.
func TestACallThatIsFasterThanItsStep(t *testing.T) {
	f := newFixture(t)
	to := newReceiver(t)
	r := f.archived("order-17", `{"webhook":"`+to.URL+`"}`)
	if _, err := f.send(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := f.run(); err != nil {
		t.Fatal(err)
	}
	if err := f.Ended(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if n, err := NewReader(f.rdb).Of(t.Context(), r); err != nil || n.State != WasSent {
		t.Errorf("%+v, %v", n, err)
	}
}

// Without a signing secret nothing is sent, which is a failure that somebody can mend.
func TestANotificationThatCannotBeSigned(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Secrets = nil })
	r := f.archived("order-17", `{"webhook":"https://hooks.example.com/x"}`)
	if err := f.Ended(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	n, err := NewReader(f.rdb).Of(t.Context(), r)
	if err != nil || n.State != Abandoned || !strings.Contains(n.Error, "CLIPFERRY_WEBHOOK_SECRETS") {
		t.Errorf("%+v, %v", n, err)
	}
	if len(f.in(queue.Notify)) != 0 {
		t.Error("it is in the queue")
	}
}
