package httpapi

import (
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// maxConnections is how many connections one server holds open, however many
	// files the process may have: each costs memory as well.
	maxConnections = 1024
	minConnections = 16
	// connectionShare is the server's share of the files that the process may have
	// open: the rest is for the worker's own connections.
	connectionShare = 4
)

// defaultMaxConnections is the limit where none is configured.
func defaultMaxConnections() int {
	files, known := openFiles()
	if !known {
		return maxConnections
	}
	return int(min(max(files/connectionShare, minConnections), maxConnections))
}

// quietConnections closes those connections that have waited longest without a request
// under way once there are more than the limit: whoever opens connections and sends
// nothing must not keep others from being answered.
type quietConnections struct {
	limit int

	mu    sync.Mutex
	open  int
	quiet map[net.Conn]time.Time // since when
}

// changed is [http.Server.ConnState].
func (q *quietConnections) changed(c net.Conn, state http.ConnState) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch state {
	case http.StateNew:
		q.open++
		q.quiet[c] = time.Now()
	case http.StateIdle:
		q.quiet[c] = time.Now()
	case http.StateActive:
		delete(q.quiet, c)
	case http.StateClosed, http.StateHijacked:
		q.open--
		delete(q.quiet, c)
	}
	if state == http.StateNew && q.open > q.limit {
		q.closeOldest()
	}
}

func (q *quietConnections) closeOldest() {
	var oldest net.Conn
	for c, since := range q.quiet {
		if oldest == nil || since.Before(q.quiet[oldest]) {
			oldest = c
		}
	}
	if oldest != nil {
		delete(q.quiet, oldest)
		_ = oldest.Close() // its reader ends with that, and says StateClosed
	}
}
