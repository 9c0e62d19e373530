package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// stage lets the servers that tests use run outside of a test: it is a
// testing.TB whose cleanups run when it is closed.
type stage struct {
	testing.TB
	dir string
	log io.Writer

	mu       sync.Mutex
	began    time.Time
	dirs     int
	cleanups []func()
	failed   bool
}

// failure is what Fatal panics with.
type failure string

func newStage(dir string, log io.Writer) (*stage, error) {
	var err error
	if dir == "" {
		dir, err = os.MkdirTemp("", "clipferry-chaos-")
	} else if err = os.MkdirAll(dir, 0o755); err == nil {
		dir, err = filepath.Abs(dir)
	}
	return &stage{dir: dir, log: log, began: time.Now()}, err
}

// close undoes everything, in the opposite order; the files only go when clean.
func (s *stage) close(clean bool) {
	s.mu.Lock()
	cleanups := s.cleanups
	s.cleanups = nil
	s.mu.Unlock()
	for i := len(cleanups) - 1; i >= 0; i-- {
		cleanups[i]()
	}
	if clean {
		_ = os.RemoveAll(s.dir)
	}
}

func (s *stage) Helper()                  {}
func (s *stage) Context() context.Context { return context.Background() }

func (s *stage) Failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

func (s *stage) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

func (s *stage) TempDir() string {
	s.mu.Lock()
	s.dirs++
	dir := filepath.Join(s.dir, fmt.Sprintf("%02d", s.dirs))
	s.mu.Unlock()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.Fatal(err)
	}
	return dir
}

// Logf prints a line with the time since the run began.
func (s *stage) Logf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.log, "%8.1fs  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

func (s *stage) Errorf(format string, args ...any) {
	s.Logf(format, args...)
	s.mu.Lock()
	s.failed = true
	s.mu.Unlock()
}

func (s *stage) Fatal(args ...any) {
	s.Errorf("%s", fmt.Sprint(args...))
	panic(failure(fmt.Sprint(args...)))
}

func (s *stage) Fatalf(format string, args ...any) { s.Fatal(fmt.Sprintf(format, args...)) }

// guard turns a Fatal below f into an error.
func guard(f func() error) (err error) {
	defer func() {
		switch cause := recover().(type) {
		case nil:
		case failure:
			err = errors.New(string(cause))
		default:
			panic(cause)
		}
	}()
	return f()
}
