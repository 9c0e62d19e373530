package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/clipferry/clipferry/config"
)

// readable writes durations as people do, "1.5s", also in JSON, which would have
// them as nanoseconds.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// logger writes to stderr in the configured format.
func (c *console) logger(cfg *config.Config) *slog.Logger { return c.loggerTo(c.msg.Raw(), cfg) }

func (c *console) loggerTo(w io.Writer, cfg *config.Config) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.LogLevel, ReplaceAttr: readable}
	if cfg.LogFormat == "text" || cfg.LogFormat == "" && c.msg.IsTerminal() {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// outliveReaders lets the process go on when whoever reads its stdout or stderr
// goes away: by default a write would end it, in the middle of a paid request
// perhaps, or of a file. It is for what runs for long or changes something; `clipferry
// list | head` ends as usual.
func outliveReaders() { signal.Ignore(syscall.SIGPIPE) }

// logTimeout is how long one line may keep a worker from its work.
const logTimeout = time.Second

// lossy writes lines to w as long as somebody takes them. While nobody does (a
// pipe whose reader is stopped, a terminal that is held) lines are lost, and
// nothing else; the next one that gets through says how many.
type lossy struct {
	w io.Writer

	mu      sync.Mutex
	writing chan struct{} // closed when the write that is under way has ended
	lost    int
}

// Write takes one line, and always as a whole.
func (l *lossy) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.writing != nil {
		select {
		case <-l.writing:
		default:
			l.lost++
			return len(line), nil
		}
	}
	text := bytes.Clone(line)
	if l.lost > 0 {
		text = append(fmt.Appendf(nil, `{"level":"WARN","msg":"nobody read the log for a while: lines were lost","lines":%d}`+"\n", l.lost), text...)
		l.lost = 0
	}
	done := make(chan struct{})
	l.writing = done
	go func() {
		defer close(done)
		_, _ = l.w.Write(text)
	}()
	select {
	case <-done:
	case <-time.After(logTimeout):
	}
	return len(line), nil
}
