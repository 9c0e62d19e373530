package emulator

import (
	"compress/gzip"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/clipferry/clipferry/internal/retry"
)

// hugeByDefault is how large an answer is made that shall be too large.
const hugeByDefault = 300 << 20

// exchange is one request on one of the four routes, with what goes wrong in it.
type exchange struct {
	s    *Server
	w    *recorder
	r    *http.Request
	plan plan
}

func (s *Server) exchange(w *recorder, req Request) *exchange {
	return &exchange{s, w, req.HTTP, s.plan(req)}
}

// before does what goes wrong before anything is done, and reports whether that
// ended the request.
func (x *exchange) before() (over bool) {
	if f, ok := x.plan.get(FaultDelay); ok && !x.sleep(time.Duration(f.Delay)) {
		return true
	}
	if f, ok := x.plan.get(FaultStall); ok && f.Bytes == 0 {
		x.hold(time.Duration(f.Delay))
	}
	if x.plan.has(FaultReset) {
		x.reset()
		return true
	}
	if f, ok := x.plan.get(FaultStatus); ok && !f.Acted {
		x.fail(f)
		return true
	}
	if f, ok := x.plan.get(FaultRedirect); ok {
		status := f.Status
		if status == 0 {
			status = http.StatusFound
		}
		x.w.Header().Set("Location", f.URL)
		x.w.WriteHeader(status)
		return true
	}
	if f, ok := x.plan.get(FaultCode); ok && f.refuses() {
		x.send(http.StatusOK, "application/json", envelope(f, nil))
		return true
	}
	if x.plan.has(FaultErrorPage) {
		x.send(http.StatusOK, "text/html; charset=utf-8", []byte("<!doctype html>\n<title>Oops</title>\n<h1>Something went wrong</h1>\n"))
		return true
	}
	return false
}

// answer sends body, or what goes wrong after everything was done.
func (x *exchange) answer(status int, body []byte) {
	if x.plan.has(FaultLost) {
		x.reset()
		return
	}
	if f, ok := x.plan.get(FaultStatus); ok {
		x.fail(f)
		return
	}
	if f, ok := x.plan.get(FaultBody); ok {
		body = []byte(f.Body)
		if f.Status != 0 {
			status = f.Status
		}
	}
	if f, ok := x.plan.get(FaultCode); ok {
		body = envelope(f, body)
	}
	if x.plan.has(FaultStrings) {
		body = quoteNumbers(body)
	}
	if x.plan.has(FaultMalformed) {
		body = body[:len(body)/2]
	}
	x.send(status, "application/json", body)
}

// fail answers a Status fault in the documented shape.
func (x *exchange) fail(f Fault) {
	if f.RetryAfter != "" {
		x.w.Header().Set("Retry-After", f.RetryAfter)
	}
	x.send(f.Status, "application/json", x.s.refusal(x.r, f.Status, f.Message))
}

// refuse answers an error of the emulator's own.
func (x *exchange) refuse(status int, message string) {
	x.send(status, "application/json", x.s.refusal(x.r, status, message))
}

func (x *exchange) send(status int, contentType string, body []byte) {
	x.w.Header().Set("Content-Type", contentType)
	out := x.paced()
	if f, ok := x.plan.get(FaultBomb); ok {
		x.w.Header().Set("Content-Encoding", "gzip")
		out.WriteHeader(status)
		z := gzip.NewWriter(out)
		if writeBlanks(z, f.Bytes) == nil {
			_ = z.Close() // the client has gone: nothing is left to do
		}
		return
	}
	if f, ok := x.plan.get(FaultHuge); ok && len(body) > 1 && body[0] == '{' {
		out.WriteHeader(status)
		// The writes fail once the client has had enough.
		_, _ = io.WriteString(out, `{"padding":"`)
		if writeBlanks(out, f.Bytes) == nil {
			_, _ = io.WriteString(out, `",`)
			_, _ = out.Write(body[1:])
		}
		return
	}
	x.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	out.WriteHeader(status)
	if x.r.Method != http.MethodHead {
		_, _ = out.Write(body)
	}
}

func writeBlanks(w io.Writer, n int64) error {
	if n == 0 {
		n = hugeByDefault
	}
	blanks := make([]byte, 64<<10)
	for i := range blanks {
		blanks[i] = ' '
	}
	for n > 0 {
		m, err := w.Write(blanks[:min(n, int64(len(blanks)))])
		if err != nil {
			return err
		}
		n -= int64(m)
	}
	return nil
}

// sleep waits in real time; false if the client left.
func (x *exchange) sleep(d time.Duration) bool {
	return retry.Wait(x.r.Context(), d) == nil
}

// hold sends nothing for d or, if that is zero, until the client leaves.
func (x *exchange) hold(d time.Duration) {
	if d > 0 && x.sleep(d) {
		return
	}
	<-x.r.Context().Done()
	panic(http.ErrAbortHandler)
}

// reset closes the connection so that the client sees ECONNRESET.
func (x *exchange) reset() {
	x.w.note(statusReset)
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2, or a recorder
	}
	raw := conn
	if t, ok := conn.(*tls.Conn); ok {
		raw = t.NetConn()
	}
	if t, ok := raw.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = raw.Close()
}

// paced sends a body as slowly, and as far, as the plan allows.
type paced struct {
	*recorder
	x    *exchange
	sent int64
	done bool // WriteHeader was called
}

func (x *exchange) paced() *paced { return &paced{recorder: x.w, x: x} }

var errCut = errors.New("emulator: cut off as ordered")

// WriteHeader sends the header without what the plan leaves out.
func (p *paced) WriteHeader(status int) {
	p.done = true
	h, plan := p.Header(), p.x.plan
	if plan.has(FaultNoETag) {
		h.Del("ETag")
		h.Del("Last-Modified")
	}
	if plan.has(FaultIgnoreRange) {
		h.Del("Accept-Ranges")
	}
	if v := h.Get("Content-Range"); v != "" && plan.has(FaultContentRange) {
		h.Set("Content-Range", "bytes 1"+v[len("bytes "):])
	}
	if !plan.has(FaultNoLength) {
		p.recorder.WriteHeader(status)
		return
	}
	h.Del("Content-Length")
	p.recorder.WriteHeader(status)
	// Else net/http counts a short body and adds the length by itself.
	_ = http.NewResponseController(p.recorder).Flush()
}

// Write sends b, up to where the plan says that it ends.
func (p *paced) Write(b []byte) (n int, err error) {
	if !p.done {
		p.WriteHeader(http.StatusOK)
	}
	for len(b) > 0 && err == nil {
		var m int
		m, err = p.step(b)
		n, b = n+m, b[m:]
	}
	return n, err
}

// step sends as much of b as can be sent in one go.
func (p *paced) step(b []byte) (int, error) {
	size := int64(len(b))
	if f, ok := p.x.plan.get(FaultTruncate); ok {
		if p.sent >= f.Bytes {
			return 0, p.cut(f)
		}
		size = min(size, f.Bytes-p.sent)
	}
	if f, ok := p.x.plan.get(FaultStall); ok && f.Bytes > 0 && p.sent <= f.Bytes {
		if p.sent == f.Bytes {
			_ = http.NewResponseController(p.recorder).Flush()
			p.x.hold(time.Duration(f.Delay))
		} else {
			size = min(size, f.Bytes-p.sent)
		}
	}
	slow, isSlow := p.x.plan.get(FaultSlow)
	if isSlow {
		size = min(size, max(slow.Rate/20, 1))
	}
	n, err := p.recorder.Write(b[:size])
	p.sent += int64(n)
	if isSlow && err == nil {
		_ = http.NewResponseController(p.recorder).Flush()
		if !p.x.sleep(time.Duration(float64(n) / float64(slow.Rate) * float64(time.Second))) {
			return n, p.x.r.Context().Err()
		}
	}
	return n, err
}

func (p *paced) cut(f Fault) error {
	_ = http.NewResponseController(p.recorder).Flush()
	if f.Clean {
		return errCut
	}
	panic(http.ErrAbortHandler)
}
