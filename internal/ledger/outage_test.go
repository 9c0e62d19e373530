package ledger

import (
	"testing"
	"time"
)

func TestOutagesAreThoseOfWorkersThatStillSaySo(t *testing.T) {
	e := onMiniredis(t)
	l := New(Options{Redis: e.rdb})
	ctx := t.Context()
	for _, o := range []Outage{
		{Worker: "b", Since: noon.Add(time.Second), SaidAt: noon},
		{Worker: "a", Since: noon, Sentence: "S3 fails", SaidAt: noon},
		{Worker: "gone", Since: noon, SaidAt: noon.Add(-outageFor)},
		{Worker: "well", Since: noon, SaidAt: noon},
		{Worker: "well", Catalog: true, Since: noon.Add(time.Minute), SaidAt: noon},
	} {
		must(t, l.ReportOutage(ctx, o))
	}
	must(t, l.EndOutage(ctx, Outage{Worker: "well"}))
	all, err := l.Outages(ctx, noon)
	must(t, err)
	if len(all) != 3 || !all[2].Catalog || all[0].Worker != "a" || all[0].Sentence != "S3 fails" || all[1].Worker != "b" {
		t.Errorf("%+v", all)
	}
}
