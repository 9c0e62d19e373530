// Package preflight says what exports would come to before they are ordered: whether
// the project exists and until when, which clips it has, how long they are, what they
// will cost by what this account was charged so far, and when they would start and end.
//
// Each project is read once, through the account's budget, and remembered for a while:
// a project that is done does not change. Nothing is ordered.
package preflight

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/clipferry/clipferry/internal/budget"
	"github.com/clipferry/clipferry/internal/provider"
	"github.com/clipferry/clipferry/internal/units"
	"github.com/clipferry/clipferry/tasks"
)

// Account is an account at the provider.
type Account struct {
	Name     string
	Provider Provider
	Gate     Gate
	Units    Units
}

// Provider reads results; *provider.Client is one.
type Provider interface {
	Read(ctx context.Context, kind, taskID string) (provider.Task, error)
}

// Gate is the account's budget; *budget.Gate is one.
type Gate interface {
	Enter(tenant string) (leave func(), ok bool)
	Wait(ctx context.Context, r budget.Request) (*budget.Turn, error)
	Status(ctx context.Context) (budget.Status, error)
	Starts(ctx context.Context, ahead ...int) ([]time.Duration, error)
}

// Units knows what the account was charged; *units.Meter does.
type Units interface {
	Today(ctx context.Context, now time.Time) (units.Day, error)
	Rates(ctx context.Context, resolution string) (units.Rates, error)
}

// Options configures a Service.
type Options struct {
	Redis redis.UniversalClient
	// Account returns the account of that name, the default one for an empty name;
	// false for one whose key is not known here.
	Account func(name string) (Account, bool)
	// Queued counts the exports that wait in the account's queues.
	Queued func(ctx context.Context, account string) (int, error)
	// Wait is how long one read waits for its turn; 25 s when zero.
	Wait time.Duration
	// Within is how long all reads of one check may take; without end when zero.
	Within time.Duration
	// MaxReads is how many projects of one check are read at the most; 20 when zero.
	MaxReads int
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Service checks exports. It is safe for concurrent use.
type Service struct {
	o   Options
	now func() time.Time
}

// New returns a Service.
func New(o Options) *Service {
	o.Wait = cmp.Or(o.Wait, 25*time.Second)
	o.MaxReads = cmp.Or(o.MaxReads, 20)
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Service{o: o, now: o.Now}
}

// Report is what a check found. Its fields are part of the outside contract.
type Report struct {
	Exports []Export `json:"exports"`
	Total   Total    `json:"total"`
}

// Export is what one export would come to.
type Export struct {
	ProjectID string `json:"project_id"`
	Account   string `json:"account"`
	// Exists is nil where that is not known, see Unread.
	Exists *bool  `json:"exists"`
	Kind   string `json:"kind,omitempty"` // clips or moments
	Status string `json:"status,omitempty"`
	// ReadAt is when the project was read.
	ReadAt    *time.Time `json:"read_at,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	// Clips are those that would be exported.
	Clips      []Clip  `json:"clips"`
	Seconds    float64 `json:"seconds"`
	Resolution string  `json:"resolution"`
	Expected   Cost    `json:"units"`
	// Place is how many go before it and those before it here; StartsAt and EndsAt
	// are estimates, nil where nothing is known.
	Place    int        `json:"place"`
	StartsAt *time.Time `json:"starts_at,omitempty"`
	EndsAt   *time.Time `json:"ends_at,omitempty"`
	// Unread says why the project was not read.
	Unread string `json:"unread,omitempty"`
	// Impossible is why the provider would refuse the export; Warnings are what is odd.
	Impossible []string `json:"impossible,omitempty"`
	Warnings   []string `json:"warnings,omitempty"`
}

// Clip is one clip of a project.
type Clip struct {
	Idx     int     `json:"idx"`
	Title   string  `json:"title"`
	Seconds float64 `json:"seconds"`
}

// Cost is an estimate in the account's units, by what it was charged so far.
type Cost struct {
	// Known is false before there is data, or where the length is not known.
	Known   bool    `json:"known"`
	Median  float64 `json:"median"`
	Low     float64 `json:"low"`
	High    float64 `json:"high"`
	Samples int     `json:"samples"`
}

// Total is about all exports of a check.
type Total struct {
	Exports    int     `json:"exports"`
	Impossible int     `json:"impossible"`
	Unread     int     `json:"unread"`
	Seconds    float64 `json:"seconds"`
	// Expected sums up what is known; Known says that it is all.
	Expected Cost `json:"units"`
	// Days are what the accounts have left of today's caps.
	Days     []Day      `json:"days"`
	StartsAt *time.Time `json:"starts_at,omitempty"`
	EndsAt   *time.Time `json:"ends_at,omitempty"`
}

// Day is what is left of an account's day.
type Day struct {
	Account string  `json:"account"`
	Spent   float64 `json:"spent"`
	// Cap and Left are nil without a cap.
	Cap  *float64 `json:"cap"`
	Left *float64 `json:"left"`
}

// Impossible reports whether an export would be refused.
func (r Report) Impossible() bool { return r.Total.Impossible > 0 }

// Check says what the exports would come to, as if the tenant enqueued them in this order
// now. The hidden projects are to it as if the provider knew none of them, after the same
// work: whoever asks may not know of them. Its error is one of Redis.
func (s *Service) Check(ctx context.Context, tenant string, exports []tasks.Export, hidden map[string]bool) (Report, error) {
	report := Report{Exports: make([]Export, 0, len(exports)), Total: Total{Days: []Day{}}}
	read := reader{s: s, tenant: tenant, hidden: hidden, left: s.o.MaxReads, seen: map[string]project{}}
	if s.o.Within > 0 {
		read.until = time.Now().Add(s.o.Within)
	}
	byAccount := map[string][]int{}
	for i, e := range exports {
		account, ok := s.o.Account(e.Account)
		one := Export{
			ProjectID: e.ProjectID, Account: account.Name, Clips: []Clip{},
			Resolution: e.WithDefaults().Resolution, Warnings: e.Lint().Texts(),
		}
		if !ok {
			one.Account = e.Account
			one.Unread = "the key of account " + one.Account + " is not known here"
			report.Exports = append(report.Exports, one)
			continue
		}
		p, err := read.project(ctx, account, e.ProjectID)
		if err != nil {
			return Report{}, err
		}
		one.judge(e, p, s.now())
		if err := one.price(ctx, account); err != nil {
			return Report{}, err
		}
		report.Exports = append(report.Exports, one)
		byAccount[account.Name] = append(byAccount[account.Name], i)
	}
	for name, which := range byAccount {
		account, _ := s.o.Account(name)
		if err := s.schedule(ctx, account, which, &report); err != nil {
			return Report{}, err
		}
	}
	slices.SortFunc(report.Total.Days, func(a, b Day) int { return cmp.Compare(a.Account, b.Account) })
	report.sum()
	return report, nil
}

// judge takes over what is known of the project, and says what keeps the export from
// being possible.
func (x *Export) judge(e tasks.Export, p project, now time.Time) {
	if p.Unread != "" {
		x.Unread = p.Unread
		return
	}
	exists := p.Kind != ""
	x.Exists, x.Kind, x.Status, x.ReadAt = &exists, p.Kind, p.Status, moment(p.ReadAt)
	if !exists {
		x.Impossible = append(x.Impossible, "project_id: the provider knows no clipping or Find Moments task of this id, or no more")
		return
	}
	x.ExpiresAt = moment(p.ExpireAt)
	known := map[int]Clip{}
	for _, c := range p.Clips {
		known[c.Idx] = c
		if e.ClipIndices == nil {
			x.Clips = append(x.Clips, c)
		}
	}
	done := p.Status == string(provider.StatusSucceeded)
	for _, idx := range e.ClipIndices {
		c, ok := known[idx]
		switch {
		case ok:
			x.Clips = append(x.Clips, c)
		case done:
			x.Impossible = append(x.Impossible, fmt.Sprintf("clip_indices: the project has no clip %d, but %s", idx, indices(p.Clips)))
		}
	}
	for _, c := range x.Clips {
		x.Seconds += c.Seconds
	}
	switch {
	case !p.ExpireAt.IsZero() && now.After(p.ExpireAt):
		x.Impossible = append(x.Impossible, "project_id: the project expired at "+p.ExpireAt.UTC().Format(time.RFC3339))
	case p.Status == string(provider.StatusFailed):
		x.Impossible = append(x.Impossible, "project_id: the project failed at the provider")
	case done && len(p.Clips) == 0:
		x.Impossible = append(x.Impossible, "project_id: the project has no clips")
	case !done:
		x.Warnings = append(x.Warnings, "project_id: the project is not done yet: it is "+p.Status)
	}
}

func indices(clips []Clip) string {
	switch len(clips) {
	case 0:
		return "none"
	case 1:
		return fmt.Sprintf("%d alone", clips[0].Idx)
	}
	least, most := clips[0].Idx, clips[0].Idx
	for _, c := range clips {
		least, most = min(least, c.Idx), max(most, c.Idx)
	}
	return fmt.Sprintf("%d from %d to %d", len(clips), least, most)
}

// price estimates what the export will be charged.
func (x *Export) price(ctx context.Context, account Account) error {
	rates, err := account.Units.Rates(ctx, x.Resolution)
	if err != nil {
		return err
	}
	x.Expected = Cost{
		Known: rates.Samples > 0 && x.Seconds > 0, Samples: rates.Samples,
		Median: rates.Median * x.Seconds, Low: rates.Low * x.Seconds, High: rates.High * x.Seconds,
	}
	return nil
}

// schedule says when the account's exports would start and end, those that would be
// refused apart.
func (s *Service) schedule(ctx context.Context, account Account, which []int, report *Report) error {
	day, err := account.Units.Today(ctx, s.now())
	if err != nil {
		return err
	}
	d := Day{Account: account.Name, Spent: day.Spent}
	if day.Cap > 0 {
		left := max(0, day.Cap-day.Spent)
		d.Cap, d.Left = &day.Cap, &left
	}
	report.Total.Days = append(report.Total.Days, d)
	st, err := account.Gate.Status(ctx)
	if err != nil {
		return fmt.Errorf("look at the budget of account %s: %w", account.Name, err)
	}
	queued, err := s.o.Queued(ctx, account.Name)
	if err != nil {
		return err
	}
	var going []int
	var ahead []int
	for _, i := range which {
		if len(report.Exports[i].Impossible) == 0 {
			ahead = append(ahead, queued+len(going))
			going = append(going, i)
		}
	}
	if len(going) == 0 {
		return nil
	}
	starts, err := account.Gate.Starts(ctx, ahead...)
	if err != nil {
		return fmt.Errorf("look at the line of account %s: %w", account.Name, err)
	}
	for n, i := range going {
		x := &report.Exports[i]
		at := s.now().Add(starts[n]).UTC().Truncate(time.Second)
		x.Place, x.StartsAt = ahead[n], &at
		if st.Duration > 0 {
			end := at.Add(st.Duration + st.Lag).Truncate(time.Second)
			x.EndsAt = &end
		}
		if x.ExpiresAt != nil && x.StartsAt.After(*x.ExpiresAt) {
			x.Warnings = append(x.Warnings, "project_id: the project expires at "+x.ExpiresAt.Format(time.RFC3339)+", before the export would start")
		}
	}
	return nil
}

// sum adds up what is known of all.
func (r *Report) sum() {
	t := &r.Total
	*t = Total{Exports: len(r.Exports), Days: t.Days, Expected: Cost{Known: len(r.Exports) > 0}}
	for _, x := range r.Exports {
		if x.Unread != "" {
			t.Unread++
		}
		if len(x.Impossible) > 0 {
			t.Impossible++
			continue
		}
		t.Seconds += x.Seconds
		t.Expected.Known = t.Expected.Known && x.Expected.Known
		t.Expected.Median += x.Expected.Median
		t.Expected.Low += x.Expected.Low
		t.Expected.High += x.Expected.High
		t.Expected.Samples = max(t.Expected.Samples, x.Expected.Samples)
		if x.StartsAt != nil && (t.StartsAt == nil || x.StartsAt.Before(*t.StartsAt)) {
			t.StartsAt = x.StartsAt
		}
		if x.EndsAt != nil && (t.EndsAt == nil || x.EndsAt.After(*t.EndsAt)) {
			t.EndsAt = x.EndsAt
		}
	}
	t.Expected.Known = t.Expected.Known && t.Impossible < len(r.Exports)
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
