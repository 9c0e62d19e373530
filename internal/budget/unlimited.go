package budget

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/pace"
)

//go:embed lua/odd.lua
var oddSource string

var oddScript = redis.NewScript(oddSource)

// unlimited is what the gates of an account without limits share: the orders whose
// answers nobody understood, each of which was paid for, and an operator's word. It is in
// Redis, under one hash tag:
//
//	clipferry:{budget:<account>}:odd      sorted set, by when they were sent: <export>@<sent>,
//	                                      and "" for the last that ended such a row
//	clipferry:{budget:<account>}:resumed  an operator's word, for one order
type unlimited struct {
	client    redis.UniversalClient
	odd, word string

	mu    sync.Mutex
	noted []redis.Z // by this process, for a Redis that loses them
}

const (
	// wordFor is for how long an operator's word waits for an order.
	wordFor = 24 * time.Hour
	// oddKept is how many orders are kept.
	oddKept = 16
)

func newUnlimited(client redis.UniversalClient, account string) *unlimited {
	tag := "clipferry:{budget:" + account + "}:"
	return &unlimited{client: client, odd: tag + "odd", word: tag + "resumed"}
}

// known is what the whole fleet knows.
type known struct {
	at    int64        // Redis's clock, in microseconds
	odd   []redis.Z    // since one was understood, the latest last
	ended bool         // that anything is known of a row's end
	since pace.Instant // when orders were halted, zero if they are not
	word  bool
}

// look asks for it. What this process noted, and Redis has lost, is written back.
func (u *unlimited) look(ctx context.Context) (f known, err error) {
	raw, err := oddScript.Run(ctx, u.client, []string{u.odd, u.word}).Slice()
	if err != nil {
		return f, unreachable(err)
	}
	if f, err = parseFleet(raw); err != nil {
		return f, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case f.ended:
		u.noted = slices.DeleteFunc(u.noted, func(z redis.Z) bool { return !slices.Contains(f.odd, z) })
	case len(f.odd) < len(u.noted):
		if err := u.client.ZAdd(ctx, u.odd, u.noted...).Err(); err != nil {
			return f, unreachable(err)
		}
		f.odd = slices.Clone(u.noted)
	}
	if len(f.odd) >= pace.OddOrders {
		f.since = pace.Instant(f.odd[pace.OddOrders-1].Score)
	}
	return f, nil
}

// parseFleet reads {seconds, microseconds, [member, score, …], 1 if there is a word}.
func parseFleet(raw []any) (f known, err error) {
	malformed := errors.New("malformed answer of the script of odd orders")
	if len(raw) != 4 {
		return f, malformed
	}
	sec, _ := raw[0].(string)
	usec, _ := raw[1].(string)
	s, err1 := strconv.ParseInt(sec, 10, 64)
	us, err2 := strconv.ParseInt(usec, 10, 64)
	if err1 != nil || err2 != nil {
		return f, malformed
	}
	f.at = s*1_000_000 + us
	word, _ := raw[3].(int64)
	f.word = word == 1
	pairs, _ := raw[2].([]any)
	for i := 0; i+1 < len(pairs); i += 2 {
		member, _ := pairs[i].(string)
		text, _ := pairs[i+1].(string)
		score, err := strconv.ParseFloat(text, 64)
		switch {
		case err != nil:
			return f, malformed
		case member == "":
			f.odd, f.ended = nil, true
		default:
			f.odd = append(f.odd, redis.Z{Score: score, Member: member})
		}
	}
	return f, nil
}

// lets reports whether the turn's order may be sent: it is not an export's, the fleet's are
// not halted, or an operator's word is for this one.
func (u *unlimited) lets(ctx context.Context, t *Turn) (bool, error) {
	if pace.Passed(t.turn.Export) {
		return true, nil
	}
	f, err := u.look(ctx)
	if err != nil {
		return false, err
	}
	t.sent, t.odd = f.at, len(f.odd)
	if f.since == 0 {
		return true, nil
	}
	if !f.word {
		return false, nil
	}
	taken, err := u.client.Del(ctx, u.word).Result() // by one of those who see it
	if err != nil {
		return false, unreachable(err)
	}
	t.word = taken == 1
	return t.word, nil
}

// done takes in what came of the turn's order.
func (u *unlimited) done(ctx context.Context, t *Turn, o Outcome) (err error) {
	switch {
	case pace.Passed(t.turn.Export): // says nothing of how exports are answered
	case o.Result == NotUnderstood:
		err = u.note(ctx, t.turn.Export, t.sent)
	case o.Result == Answered && o.Accepted && t.odd > 0:
		_, err = u.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.ZRemRangeByScore(ctx, u.odd, "-inf", strconv.FormatInt(t.sent, 10))
			p.ZAdd(ctx, u.odd, redis.Z{Score: float64(t.sent)})
			p.Del(ctx, u.word)
			return nil
		})
	case t.word && o.Free():
		err = u.client.Set(ctx, u.word, 1, wordFor).Err()
	}
	if err != nil {
		return unreachable(err)
	}
	return nil
}

// note adds an order that was sent at the time. It may do so twice.
func (u *unlimited) note(ctx context.Context, export string, sent int64) error {
	z := redis.Z{Score: float64(sent), Member: oddName(export) + strconv.FormatInt(sent, 10)}
	u.mu.Lock()
	if !slices.Contains(u.noted, z) {
		u.noted = append(u.noted, z)
		u.noted = u.noted[max(0, len(u.noted)-pace.OddOrders):]
	}
	u.mu.Unlock()
	_, err := u.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.ZAdd(ctx, u.odd, z)
		p.ZRemRangeByRank(ctx, u.odd, 0, -oddKept-2)
		return nil
	})
	return err
}

func oddName(export string) string { return export + "@" }

// recall is note for an order that a receipt knows of, which is older than what Redis
// knows, or known.
func (u *unlimited) recall(ctx context.Context, export string, sent time.Time) error {
	members, err := u.client.ZRangeWithScores(ctx, u.odd, 0, -1).Result()
	if err != nil {
		return unreachable(err)
	}
	at := sent.UnixMicro()
	for _, z := range members {
		name, _ := z.Member.(string)
		if strings.HasPrefix(name, oddName(export)) || name == "" && int64(z.Score) > at {
			return nil
		}
	}
	if err := u.note(ctx, export, at); err != nil {
		return unreachable(err)
	}
	return nil
}

// letsOrder is [unlimited.lets]; a turn that it does not is given back, and the
// orders of this process are halted.
func (g *Gate) letsOrder(ctx context.Context, t *Turn) (bool, error) {
	lets, err := g.unlimited.lets(ctx, t)
	if lets {
		return true, nil
	}
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	faults := []error{err, t.Done(back, Outcome{Result: NotSent})}
	if err == nil {
		faults = append(faults, g.do(back, &op{apply: func(now pace.Instant, s *pace.State) { s.HaltOdd(now) }}))
	}
	return false, errors.Join(faults...)
}

// follow brings this process up to date with the fleet.
func (g *Gate) follow(ctx context.Context, h Health) (Health, error) {
	f, err := g.unlimited.look(ctx)
	here := h.Halted == pace.HaltAnswers && h.Orders
	switch {
	case err != nil:
	case f.since == 0 && here:
		h.Halted, h.Orders = "", false
		err = g.do(ctx, &op{apply: func(_ pace.Instant, s *pace.State) { s.Understood() }})
	case f.since != 0 && h.Halted == "":
		h.Halted, h.Orders = pace.HaltAnswers, true
	case f.word && here:
		err = g.do(ctx, &op{apply: func(now pace.Instant, s *pace.State) { s.Resume(now) }})
	}
	return h, err
}

// Resume lets one request through now, whatever halts them: an operator's word. It
// ends the halt if it is answered well. Of an account without limits it is for orders
// whose answers are not understood: the other halts are each process's own.
func (g *Gate) Resume(ctx context.Context) error {
	if g.unlimited == nil {
		return g.do(ctx, &op{apply: func(now pace.Instant, s *pace.State) { s.Resume(now) }})
	}
	f, err := g.unlimited.look(ctx)
	if err != nil || f.since == 0 {
		return err
	}
	if err := g.unlimited.client.Set(ctx, g.unlimited.word, 1, wordFor).Err(); err != nil {
		return fmt.Errorf("let an order through: %w", unreachable(err))
	}
	return nil
}

// RecallOdd says that a submit of the export, sent at the time, was accepted in a form
// that nobody understood, as its receipt has it: the halt that it led to may be lost.
func (g *Gate) RecallOdd(ctx context.Context, export string, sent time.Time) error {
	if g.unlimited != nil {
		return g.unlimited.recall(ctx, export, sent)
	}
	return g.do(ctx, &op{apply: func(now pace.Instant, s *pace.State) { s.RecallOdd(export, pace.At(sent), now) }})
}
