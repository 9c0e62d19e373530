package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"github.com/clipferry/clipferry/tasks"
)

// Prefixes is a comma-separated list of address ranges.
type Prefixes []netip.Prefix

// Decode reads "10.0.0.0/8, fd00::/8".
func (p *Prefixes) Decode(value string) error {
	*p = nil
	return each(value, func(_ int, item string) error {
		prefix, err := netip.ParsePrefix(item)
		if err != nil {
			if addr, err := netip.ParseAddr(item); err == nil {
				return fmt.Errorf("%s is an address, not a range: write %s/%d", item, item, addr.BitLen())
			}
			return fmt.Errorf("%q is not a range such as 10.0.0.0/8", item)
		}
		*p = append(*p, prefix.Masked())
		return nil
	})
}

// QueueNames is a comma-separated list of names of queues that are not clipferry's.
type QueueNames []string

// Decode reads "default,orders".
func (q *QueueNames) Decode(value string) error {
	*q = nil
	return each(value, func(_ int, item string) error {
		if wrong := tasks.CheckQueue(item); wrong != "" {
			return fmt.Errorf("%q: %s", short(item), wrong)
		}
		*q = append(*q, item)
		return nil
	})
}

// Tags is a comma-separated list of name=value.
type Tags map[string]string

// maxTags is what S3 allows on an object.
const maxTags = 10

// Decode reads "team=media,cost=clips".
func (t *Tags) Decode(value string) error {
	*t = nil
	tags := Tags{}
	err := each(value, func(_ int, item string) error {
		name, v, ok := strings.Cut(item, "=")
		name, v = strings.TrimSpace(name), strings.TrimSpace(v)
		switch {
		case !ok || name == "":
			return fmt.Errorf("%q is not name=value", item)
		case len(name) > 128 || len(v) > 256:
			return fmt.Errorf("tag %q: a name has at most 128 bytes, a value 256", name)
		}
		if _, twice := tags[name]; twice {
			return fmt.Errorf("tag %q is given twice", name)
		}
		tags[name] = v
		return nil
	})
	switch {
	case err != nil:
	case len(tags) > maxTags:
		return fmt.Errorf("%d tags, S3 allows %d", len(tags), maxTags)
	case len(tags) > 0:
		*t = tags
	}
	return err
}

// Bytes is a size in bytes.
type Bytes int64

var units = []struct {
	name string
	size float64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"kB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
	{"", 1},
}

// Decode reads "8MiB", "50 GB" or a plain number of bytes.
func (b *Bytes) Decode(value string) error {
	for _, u := range units {
		number, ok := strings.CutSuffix(value, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || n < 0 || n*u.size >= math.MaxInt64 || math.IsNaN(n) {
			break
		}
		*b = Bytes(n * u.size)
		return nil
	}
	return errors.New("must be a size such as 8MiB, 50GB or a number of bytes")
}

// each reads the items of a comma-separated list that aren't empty, trimmed and with
// their places from 1. Its error has what is wrong with all of them.
func each(list string, read func(place int, item string) error) error {
	var faults []string
	place := 0
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		place++
		if err := read(place, item); err != nil {
			faults = append(faults, err.Error())
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return errors.New(strings.Join(faults, "; "))
}
