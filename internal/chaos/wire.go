package main

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// mode is how a connection between two parts behaves.
type mode string

const (
	pass  mode = "pass"
	stall mode = "stall" // nothing arrives, nothing is refused
	reset mode = "reset" // connections break, new ones as well
	delay mode = "delay" // everything arrives, later
)

// lag is how much later, each way.
const lag = 150 * time.Millisecond

// wire is a TCP proxy in front of one address, for Redis.
type wire struct {
	listener net.Listener
	to       string

	mu      sync.Mutex
	mode    mode
	changed chan struct{} // closed when the mode is another
	conns   map[net.Conn]bool
	wg      sync.WaitGroup
}

func newWire(to string) (*wire, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &wire{listener: l, to: to, mode: pass, changed: make(chan struct{}), conns: map[net.Conn]bool{}}
	w.wg.Go(w.accept)
	return w, nil
}

func (w *wire) addr() string { return w.listener.Addr().String() }

func (w *wire) close() {
	_ = w.listener.Close()
	w.set(reset)
	w.wg.Wait()
}

// set changes how every connection behaves from now on.
func (w *wire) set(m mode) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mode = m
	close(w.changed)
	w.changed = make(chan struct{})
	if m != reset {
		return
	}
	for c := range w.conns {
		breakOff(c)
	}
}

// breakOff closes a connection so that its other end sees a reset.
func breakOff(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

func (w *wire) accept() {
	for {
		from, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.wg.Go(func() { w.carry(from) })
	}
}

func (w *wire) carry(from net.Conn) {
	defer breakOff(from)
	if !w.keep(from) {
		return
	}
	defer w.drop(from)
	if !w.may() {
		return
	}
	to, err := (&net.Dialer{Timeout: 5 * time.Second}).Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer breakOff(to)
	if !w.keep(to) {
		return
	}
	defer w.drop(to)
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		both.Go(func() {
			w.pump(way[1], way[0])
			_ = from.Close()
			_ = to.Close()
		})
	}
	both.Wait()
}

func (w *wire) keep(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mode == reset {
		return false
	}
	w.conns[c] = true
	return true
}

func (w *wire) drop(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, c)
}

func (w *wire) pump(to io.Writer, from io.Reader) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil || !w.may() {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// may waits until something may pass; false if it never will.
func (w *wire) may() bool {
	for {
		w.mu.Lock()
		m, changed := w.mode, w.changed
		w.mu.Unlock()
		switch m {
		case reset:
			return false
		case stall:
			<-changed
		case delay:
			time.Sleep(lag)
			return true
		default:
			return true
		}
	}
}
