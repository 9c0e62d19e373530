package main

import (
	"bytes"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/clipferry/clipferry/internal/queue"
)

// stopBound is how long a worker may take to stop: what is promised, and what a
// busy machine adds.
const stopBound = 31 * time.Second

// skew is by how much the clocks of two workers are wrong.
var skew = []string{"30", "-30"}

// fleet is the worker processes. Whoever ends without having been told is
// started again after a second, as any platform does.
type fleet struct {
	h     *house
	moves *moves

	mu       sync.Mutex
	slots    []*member
	closing  bool
	wg       sync.WaitGroup
	deaths   []time.Time // when workers were killed, or ended after a SIGTERM
	started  int
	gaveUp   int // ended by themselves because Redis was away when they started
	killed   int
	stopped  int
	skipped  int // nobody was there to be killed
	slowest  time.Duration
	breaches []string
}

// member is one place in the fleet and the process that has it now.
type member struct {
	index int
	cmd   *exec.Cmd     // nil while there is none
	told  time.Time     // when it was told to stop
	ended chan struct{} // closed when it has gone
}

func newFleet(h *house) *fleet {
	f := &fleet{h: h, moves: &moves{h: h, followed: map[queue.Lease]bool{}, took: map[bool][]time.Duration{}}}
	for i := range h.cfg.workers {
		f.slots = append(f.slots, &member{index: i})
	}
	return f
}

func (f *fleet) startAll() {
	for _, m := range f.slots {
		f.start(m)
	}
}

func (f *fleet) command(index int) *exec.Cmd {
	cmd := exec.Command(f.h.program, "worker")
	cmd.Env = f.h.env
	if f.h.skewed != "" && index < len(skew) {
		cmd = exec.Command(f.h.skewed, "worker")
		cmd.Env = append(append([]string{}, f.h.env...), skewVariable+"="+skew[index])
	}
	return cmd
}

func (f *fleet) start(m *member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing || m.cmd != nil {
		return
	}
	cmd := f.command(m.index)
	said := &tail{to: f.h.workerLog}
	cmd.Stderr = said
	dieWithParent(cmd)
	m.cmd, m.told, m.ended = cmd, time.Time{}, make(chan struct{})
	f.started++
	running := make(chan error)
	f.wg.Go(func() {
		// "With its parent" means with the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		running <- err
		if err == nil {
			err = cmd.Wait()
		}
		f.gone(m, err, said.String())
	})
	if err := <-running; err != nil {
		f.breaches = append(f.breaches, "a worker could not be started: "+err.Error())
	}
}

// gone judges how a process ended.
func (f *fleet) gone(m *member, err error, said string) {
	now := time.Now()
	f.mu.Lock()
	told, closing := m.told, f.closing
	code := m.cmd.ProcessState.ExitCode() // -1 when killed
	m.cmd = nil
	close(m.ended)
	byItself := false
	switch {
	case strings.Contains(said, "panic:") || strings.Contains(said, "fatal error:") || strings.Contains(said, "DATA RACE"):
		f.breaches = append(f.breaches, "a worker crashed:\n"+said)
	case code == -1:
		f.deaths = append(f.deaths, now)
	case code == 1 && strings.Contains(said, "does not answer"):
		f.gaveUp++
		byItself = told.IsZero()
	case !told.IsZero():
		f.deaths = append(f.deaths, now)
		f.slowest = max(f.slowest, now.Sub(told))
		if now.Sub(told) > stopBound {
			f.breaches = append(f.breaches, "a worker took "+now.Sub(told).String()+" to stop")
		}
		// One that was told to stop while it still waited for Redis to answer
		// at all has nothing to stop in order.
		if code != 0 && code != 130 {
			f.breaches = append(f.breaches, "a worker that was told to stop ended with "+err.Error()+":\n"+said)
		}
	default:
		f.breaches = append(f.breaches, "a worker ended without being told:\n"+said)
		byItself = true
	}
	f.mu.Unlock()
	if byItself && !closing {
		time.Sleep(time.Second)
		f.startLater(m)
	}
}

// startLater is start from a goroutine that the fleet waits for.
func (f *fleet) startLater(m *member) { f.wg.Go(func() { f.start(m) }) }

// hit sends the signal to the worker, or to the next one that is there and has
// not been told to stop, and starts another in its place.
func (f *fleet) hit(e event) {
	m := f.victim(e)
	if m == nil {
		return
	}
	ended := m.ended
	f.wg.Go(func() {
		<-ended
		time.Sleep(e.length)
		f.startLater(m)
	})
}

func (f *fleet) victim(e event) *member {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.slots {
		m := f.slots[(e.worker+i)%len(f.slots)]
		if m.cmd == nil || !m.told.IsZero() {
			continue
		}
		signal := syscall.SIGKILL
		if e.what == doStop {
			signal = syscall.SIGTERM
			m.told = time.Now()
			f.stopped++
		} else {
			f.killed++
			f.moves.watch()
		}
		_ = m.cmd.Process.Signal(signal) // it may have ended this moment
		return m
	}
	f.skipped++
	return nil
}

// close ends all workers, in order or at once, and waits for them.
func (f *fleet) close(signal syscall.Signal) {
	f.mu.Lock()
	f.closing = true
	for _, m := range f.slots {
		if m.cmd != nil {
			if m.told.IsZero() && signal == syscall.SIGTERM {
				m.told = time.Now()
			}
			_ = m.cmd.Process.Signal(signal)
		}
	}
	f.mu.Unlock()
	f.wg.Wait()
}

// reopen lets a closed fleet be started again.
func (f *fleet) reopen() {
	f.mu.Lock()
	f.closing = false
	f.mu.Unlock()
	f.startAll()
}

// tail passes a log on and keeps its end.
type tail struct {
	to  interface{ Write([]byte) (int, error) }
	mu  sync.Mutex
	end bytes.Buffer
}

const tailSize = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end.Write(p)
	if n := t.end.Len() - tailSize; n > 0 {
		t.end.Next(n)
	}
	return t.to.Write(p)
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.end.String()
}
