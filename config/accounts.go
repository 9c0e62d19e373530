package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/clipferry/clipferry/internal/secret"
	"github.com/clipferry/clipferry/tasks"
)

// Account is one key at the provider and its limits.
type Account struct {
	Name string
	Key  secret.String // empty where the command needs none
	// RequestsPerMinute and MaxActive are the provider's limits; 0 is none.
	RequestsPerMinute, MaxActive int
	// DailyUnits is how many units may be spent on a UTC day; 0 is no cap.
	DailyUnits float64
}

// Accounts returns the accounts at the provider. The first is the default one:
// that of CLIPFERRY_API_KEY, else the one named default, else the first named.
func (c *Config) Accounts() []Account {
	var accounts []Account
	if c.APIKey != "" || c.APIKeyFile != "" || len(c.APIKeys) == 0 {
		accounts = append(accounts, c.account(tasks.DefaultAccount, c.APIKey))
	}
	for _, k := range c.APIKeys {
		a := c.account(k.Name, k.Secret)
		if k.Name == tasks.DefaultAccount {
			accounts = append([]Account{a}, accounts...)
			continue
		}
		accounts = append(accounts, a)
	}
	return accounts
}

// Account returns the account of that name, the default one for an empty name.
// One that is not configured has the limits that are for all.
func (c *Config) Account(name string) Account {
	accounts := c.Accounts()
	if name == "" || name == tasks.DefaultAccount {
		return accounts[0]
	}
	if i := slices.IndexFunc(accounts, func(a Account) bool { return a.Name == name }); i >= 0 {
		return accounts[i]
	}
	return c.account(name, "")
}

func (c *Config) account(name string, key secret.String) Account {
	a := Account{
		Name: name, Key: key, RequestsPerMinute: c.APIRequestsPerMinute, MaxActive: c.APIMaxActiveExports,
		DailyUnits: c.APIDailyUnits.All,
	}
	if l, ok := c.APILimits[name]; ok {
		a.RequestsPerMinute, a.MaxActive = l.RequestsPerMinute, l.MaxActive
	}
	if units, ok := c.APIDailyUnits.Of[name]; ok {
		a.DailyUnits = units
	}
	return a
}

var (
	errAccountName = errors.New("must be 1–32 of the characters a–z 0–9 -")
	errTenantName  = fmt.Errorf("%w, the first not -", errAccountName)
)

// AccountKeys is a comma-separated list of name:key. Neither comes twice.
type AccountKeys []NamedSecret

// Decode reads the list. Its errors name an item by its place.
func (k *AccountKeys) Decode(value string) error {
	*k = nil
	names, keys := map[string]bool{}, map[string]bool{}
	return each(value, func(place int, item string) error {
		name, key, ok := strings.Cut(item, ":")
		switch {
		case !ok:
			return fmt.Errorf("item %d is not name:key", place)
		case !tasks.ValidAccount(name):
			return fmt.Errorf("the name of item %d %w", place, errAccountName)
		case names[name]:
			return fmt.Errorf("the account %s is given twice", name)
		case key == "":
			return fmt.Errorf("the key of account %s is empty", name)
		case !goodKey(secret.String(key)):
			return fmt.Errorf("the key of account %s %s", name, badKey)
		case keys[key]:
			return fmt.Errorf("the key of account %s is another account's, too: two budgets for one key are one too many", name)
		}
		names[name], keys[key] = true, true
		*k = append(*k, NamedSecret{name, secret.String(key)})
		return nil
	})
}

// AccountLimit is what the provider allows one account; 0 is no limit.
type AccountLimit struct{ RequestsPerMinute, MaxActive int }

// AccountLimits are the limits of accounts that have their own, by name.
type AccountLimits map[string]AccountLimit

// Decode reads "name:requests/slots,…".
func (l *AccountLimits) Decode(value string) error {
	*l = nil
	limits := AccountLimits{}
	err := each(value, func(_ int, item string) error {
		name, limit, _ := strings.Cut(item, ":")
		requests, slots, ok := strings.Cut(limit, "/")
		if !ok {
			return fmt.Errorf("%q is not name:requests/slots, such as eu:60/20", short(item))
		}
		if !tasks.ValidAccount(name) {
			return fmt.Errorf("the name in %q %w", short(item), errAccountName)
		}
		if _, twice := limits[name]; twice {
			return fmt.Errorf("the account %s is given twice", name)
		}
		r, err1 := strconv.Atoi(strings.TrimSpace(requests))
		s, err2 := strconv.Atoi(strings.TrimSpace(slots))
		if errors.Join(err1, err2) != nil || r < 0 || s < 0 || r > maxLimit || s > maxLimit {
			return fmt.Errorf("%q: the limits must be whole numbers from 0 to %d", short(item), maxLimit)
		}
		limits[name] = AccountLimit{r, s}
		return nil
	})
	if err == nil && len(limits) > 0 {
		*l = limits
	}
	return err
}

// Shares are the tenants that have queues of their own, and for how much each
// counts where several want the same slots.
type Shares map[string]int

// maxTenants bounds how many have queues of their own, each of which costs Redis a few
// commands a second, and maxShare how unequal they may be.
const maxTenants, maxShare = 64, 1000

// Decode reads "name:share,…".
func (s *Shares) Decode(value string) error {
	*s = nil
	shares := Shares{}
	err := each(value, func(_ int, item string) error {
		name, number, _ := strings.Cut(item, ":")
		share, err := strconv.Atoi(strings.TrimSpace(number))
		_, twice := shares[name]
		switch {
		case !tasks.ValidTenant(name):
			return fmt.Errorf("the name in %q %w", short(item), errTenantName)
		case err != nil || share < 1 || share > maxShare:
			return fmt.Errorf("%q is not name:share, a whole number from 1 to %d", short(item), maxShare)
		case twice:
			return fmt.Errorf("the tenant %s is given twice", name)
		}
		shares[name] = share
		return nil
	})
	switch {
	case err != nil:
	case len(shares) > maxTenants:
		return fmt.Errorf("names %d tenants, at most %d can have a queue of their own", len(shares), maxTenants)
	case len(shares) > 0:
		*s = shares
	}
	return err
}

// DailyUnits caps what accounts spend on a UTC day.
type DailyUnits struct {
	All float64            // of each account that isn't named; 0 is no cap
	Of  map[string]float64 // by account
}

// Decode reads a number for each account, or "name:units,…", or both.
func (d *DailyUnits) Decode(value string) error {
	*d = DailyUnits{}
	all := false
	return each(value, func(_ int, item string) error {
		name, number, named := strings.Cut(item, ":")
		if !named {
			number = item
		}
		units, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || units < 0 || math.IsInf(units, 0) || math.IsNaN(units) {
			return fmt.Errorf("%q must be a number of units, or name:units", short(item))
		}
		_, twice := d.Of[name]
		switch {
		case !named && all, named && twice:
			return fmt.Errorf("%q gives a second cap", short(item))
		case !named:
			all, d.All = true, units
		case !tasks.ValidAccount(name):
			return fmt.Errorf("the name in %q %w", short(item), errAccountName)
		default:
			if d.Of == nil {
				d.Of = map[string]float64{}
			}
			d.Of[name] = units
		}
		return nil
	})
}

// validateAccounts checks what the variables of several keys say of each other.
func (c *Config) validateAccounts(needs Needs, faults *Faults) {
	given := c.APIKey != "" || c.APIKeyFile != ""
	for _, k := range c.APIKeys {
		switch {
		case given && k.Name == tasks.DefaultAccount:
			faults.add("CLIPFERRY_API_KEYS", "names the account default, whose key CLIPFERRY_API_KEY is already")
		case given && k.Secret == c.APIKey:
			faults.add("CLIPFERRY_API_KEYS", fmt.Sprintf("the key of account %s is that of the default account, too: "+
				"two budgets for one key are one too many", k.Name))
		}
	}
	if needs&NeedsAPI == 0 {
		return // the keys, and so the names, may be elsewhere
	}
	var names []string
	for _, a := range c.Accounts() {
		names = append(names, a.Name)
	}
	unknown := func(variable, name string) {
		if !slices.Contains(names, name) {
			faults.add(variable, fmt.Sprintf("%s is no account; there is %s", name, either(names)))
		}
	}
	for name := range c.APILimits {
		unknown("CLIPFERRY_API_LIMITS", name)
	}
	for name := range c.APIDailyUnits.Of {
		unknown("CLIPFERRY_API_DAILY_UNITS", name)
	}
}
