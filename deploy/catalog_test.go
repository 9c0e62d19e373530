package deploy_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

var update = flag.Bool("update", false, "write what is made from the program anew: the metrics in docs/operations.md, the chart's variables")

const operationsFile = "../docs/operations.md"

// The catalog stands between these lines.
const (
	tableBegins = "<!-- metrics: written by go test ./deploy -run Catalog -update -->\n"
	tableEnds   = "<!-- end of metrics -->\n"
)

// TestTheCatalogOfMetrics holds the catalog to what a process exports, with
// types, labels and meanings.
func TestTheCatalogOfMetrics(t *testing.T) {
	page := string(read(t, operationsFile))
	before, rest, begun := strings.Cut(page, tableBegins)
	is, after, ended := strings.Cut(rest, tableEnds)
	if !begun || !ended {
		t.Fatal("docs/operations.md has no place for the catalog")
	}
	want := table(families(t))
	if is == want {
		return
	}
	if !*update {
		t.Fatalf("docs/operations.md does not say what is exported; if that is meant, run with -update. It should be\n%s", want)
	}
	if err := os.WriteFile(operationsFile, []byte(before+tableBegins+want+tableEnds+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func table(all []*dto.MetricFamily) string {
	var b strings.Builder
	b.WriteString("| metric | type | labels | |\n|---|---|---|---|\n")
	for _, f := range all {
		if !strings.HasPrefix(f.GetName(), "clipferry_") {
			continue
		}
		labels := map[string]bool{}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				labels["`"+l.GetName()+"`"] = true
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()),
			strings.Join(slices.Sorted(maps.Keys(labels)), ", "), strings.ReplaceAll(f.GetHelp(), "|", `\|`))
	}
	return b.String()
}
