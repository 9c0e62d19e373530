package budget

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/clipferry/clipferry/internal/pace"
	"github.com/redis/go-redis/v9"
)

// word carries an operator's [Gate.Resume] to the gates of an account without limits, in
// each process: these share no state. One whose orders wait for it listens.
type word struct {
	client redis.UniversalClient
	key    string

	mu        sync.Mutex
	listening bool
	last      string
}

// wordFor is how long a word is heard.
const wordFor = time.Minute

func newWord(client redis.UniversalClient, account string) *word {
	return &word{client: client, key: "clipferry:{budget:" + account + "}:resumed"}
}

func (w *word) give(ctx context.Context) error {
	if err := w.client.Set(ctx, w.key, rand.Text(), wordFor).Err(); err != nil {
		return unreachable(err)
	}
	return nil
}

// heard reports whether a word was given since it began to listen.
func (w *word) heard(ctx context.Context) (bool, error) {
	is, err := w.client.Get(ctx, w.key).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return false, unreachable(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	fresh := w.listening && is != "" && is != w.last
	w.listening, w.last = true, is
	return fresh, nil
}

func (w *word) stopListening() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listening = false
}

// Resume lets one request through now, whatever halts them: an operator's word. It
// ends the halt if it is answered well. Of an account without limits, each process that
// waits for the word lets one through.
func (g *Gate) Resume(ctx context.Context) error {
	if g.word != nil {
		return g.word.give(ctx)
	}
	return g.resume(ctx)
}

func (g *Gate) resume(ctx context.Context) error {
	return g.do(ctx, &op{apply: func(now pace.Instant, s *pace.State) { s.Resume(now) }})
}

// Alone reports whether the account has no limits, so that what this gate knows of it is
// this process's alone.
func (g *Gate) Alone() bool { return g.word != nil }
