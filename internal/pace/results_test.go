package pace

import "testing"

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
	if a.Gate.Halt.Why != HaltResults {
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
		if ended := a.Gate.Halt.Why == ""; ended != c.ends {
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
	if h := a.Gate.Halt; h.Why != "" {
		t.Errorf("halted: %+v", h)
	}
	a = oddAccount(t)
	a.send(readOf("q"), Outcome{Imported: true, Ended: true, Succeeded: true})
	if h := a.Gate.Halt; h.Why != HaltResults {
		t.Errorf("ended: %+v", h)
	}
}
