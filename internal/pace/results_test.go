package pace

import (
	"testing"
	"time"
)

var (
	oddDone = Outcome{Odd: true, Status: "DONE"}
	success = Outcome{Ended: true, Succeeded: true}
)

// oddAccount is one that is halted by the results of r and s.
func oddAccount(t *testing.T) *account {
	t.Helper()
	a := newAccount()
	a.send(readOf("r"), oddDone)
	a.send(readOf("s"), oddDone)
	if a.Gate.Halted().Why != HaltResults {
		t.Fatal("not halted")
	}
	return a
}

// A render that failed, a task that is gone and what a client reads for itself have no
// clips whose form could be known.
func TestOnlyResultsEndTheHaltOfResults(t *testing.T) {
	for name, c := range map[string]struct {
		w    Waiter
		o    Outcome
		ends bool
	}{
		"an export that succeeded":      {readOf("q"), success, true},
		"one that failed":               {readOf("q"), Outcome{Ended: true}, false},
		"one passed through":            {readOf(PassedPrefix + "q"), success, false},
		"a request that takes no slot":  {Waiter{Export: PassedPrefix + "clips", Kind: Other}, success, false},
		"one passed through, not known": {readOf(PassedPrefix + "q"), Outcome{Ended: true}, false},
	} {
		a := oddAccount(t)
		a.send(c.w, c.o)
		if ended := a.Gate.Halted().Why == ""; ended != c.ends {
			t.Errorf("%s: ended: %v", name, ended)
		}
	}
}

// Nothing that was ordered here leads to what was made elsewhere, in whatever form that is.
func TestImportsSayNothingOfResults(t *testing.T) {
	imported := Outcome{Imported: true, Odd: true, Status: "PAUSED"}
	a := newAccount()
	for range 3 {
		a.send(readOf("r"), imported)
		a.send(readOf("s"), imported)
	}
	if h := a.Gate.Halted(); h.Why != "" {
		t.Errorf("halted: %+v", h)
	}
	a = oddAccount(t)
	a.send(readOf("q"), Outcome{Imported: true, Ended: true, Succeeded: true})
	if h := a.Gate.Halted(); h.Why != HaltResults {
		t.Errorf("ended: %+v", h)
	}
}

// goes says whether an order may go.
func (a *account) goes() bool { return a.Next(a.now).Waiter == "order" }

// readOn reads r and s every five minutes, and returns after how long an order went.
func (a *account) readOn(most time.Duration) time.Duration {
	a.Join("order", submitOf("p"), a.now)
	began := a.now
	for !a.goes() && a.now.Sub(began) < most {
		a.now = a.now.Add(5 * time.Minute)
		a.send(readOf("r"), oddDone)
		a.send(readOf("s"), oddDone)
	}
	return a.now.Sub(began)
}

// accept lets the order that waits be accepted.
func (a *account) accept() {
	a.Finish("order", a.Claim("order", a.now), accepted, a.now, 0.5)
}

// Whoever reads odd results on puts no probe off, and its acceptance ends nothing, since
// every order is accepted that leads to such a result.
func TestOddResultsThatAreReadOnAreProbed(t *testing.T) {
	a := oddAccount(t)
	for range 2 {
		if took := a.readOn(3 * time.Hour); took < 20*time.Minute || took > 40*time.Minute {
			t.Errorf("the probe went after %v", took)
		}
		a.accept()
		if h := a.Gate.Halted(); h.Why != HaltResults || h.Probe < a.now.Add(20*time.Minute) {
			t.Errorf("accepted: %+v", h)
		}
	}
	a.send(readOf("x of p"), oddDone) // the form has changed for all
	a.Resume(a.now)
	if took := a.readOn(time.Hour); took != 0 {
		t.Errorf("resumed, it went after %v", took)
	}
	a.send(readOf("x of q"), oddDone)
	if a.accept(); a.Gate.Halted().Why != HaltResults {
		t.Error("ended by an order that was let go")
	}
}

// Two exports in a form that nobody knows, for as long as they are read, halt orders once.
func TestTheSameOddResultsHaltOrdersOnce(t *testing.T) {
	a := oddAccount(t)
	a.send(readOf("q"), success)
	for range 3 {
		a.send(readOf("r"), oddDone)
		a.send(readOf("s"), oddDone)
	}
	if h := a.Gate.Halted(); h.Why != "" {
		t.Errorf("halted again: %+v", h)
	}
	a.send(readOf("u"), oddDone)
	if a.send(readOf("v"), oddDone); a.Gate.Halted().Why != HaltResults {
		t.Error("not halted by others")
	}
}

// An account that nothing else is ordered for is not halted for days.
func TestTheHaltOfResultsEndsByItself(t *testing.T) {
	a := oddAccount(t)
	since := a.now
	for a.Gate.Halted().Why != "" && a.now.Sub(since) < 72*time.Hour {
		a.now = a.now.Add(5 * time.Minute)
		a.send(readOf("r"), oddDone)
		a.send(readOf("s"), oddDone)
	}
	if took := a.now.Sub(since); took > oddCounts+10*time.Minute {
		t.Errorf("it took %v", took)
	}
}

// Where nobody reads them any more an order goes, and its acceptance is enough.
func TestOddResultsThatAreNotReadAreForgotten(t *testing.T) {
	a := oddAccount(t)
	a.Join("order", submitOf("p"), a.now)
	a.now = a.now.Add(2 * oddLife)
	if !a.goes() {
		t.Error("none goes")
	}
	if a.accept(); a.Gate.Halted().Why != "" {
		t.Errorf("%+v", a.Gate.Halted())
	}
}
