package pace

// HaltOdd halts submits because of answers that another process got.
func (s *State) HaltOdd(now Instant) { s.halt(HaltAnswers, orders, now, 0) }

// Understood ends that halt, since another process got an answer that makes sense.
func (s *State) Understood() {
	g := &s.Gate
	g.Signs.OddSubmit = ""
	if h := &g.Halts[orders]; h.byWord() {
		*h = Halt{}
	}
	s.touch(fieldGate, "")
}
