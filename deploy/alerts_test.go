package deploy_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// well is a fleet of two processes, a and b, that is at work and has no worries:
// series and their values minute by minute, in promtool's notation.
var well = map[string]string{
	`clipferry_ready{instance="a"}`:                                                                   `1x180`,
	`clipferry_ready{instance="b"}`:                                                                   `1x180`,
	`up{job="clipferry",instance="a"}`:                                                                `1x180`,
	`up{job="clipferry",instance="b"}`:                                                                `1x180`,
	`clipferry_clips_due{instance="a",within="1h"}`:                                                   `0x180`,
	`clipferry_clips_due{instance="a",within="6h"}`:                                                   `0x180`,
	`clipferry_clips_due{instance="a",within="24h"}`:                                                  `0x180`,
	`clipferry_clips_due{instance="a",within="72h"}`:                                                  `40x180`,
	`clipferry_clips_archived_total{instance="a"}`:                                                    `0+1x180`,
	`clipferry_headroom_least_seconds{instance="a"}`:                                                  `200000-60x180`,
	`clipferry_exports_ended_total{instance="a",state="archived"}`:                                    `0+1x180`,
	`clipferry_exports_ended_total{instance="a",state="failed"}`:                                      `0x180`,
	`clipferry_exports_ended_total{instance="a",state="expired"}`:                                     `0x180`,
	`clipferry_exports{instance="a",state="held"}`:                                                    `0x180`,
	`clipferry_exports{instance="a",state="rendering"}`:                                               `4x180`,
	`clipferry_exports{instance="a",state="submitting"}`:                                              `1x180`,
	`clipferry_exports{instance="b",state="rendering"}`:                                               `4x180`,
	`clipferry_exports{instance="b",state="submitting"}`:                                              `1x180`,
	`clipferry_budget_slots_used{instance="a",account="default"}`:                                     `5x180`,
	`clipferry_budget_slots_used{instance="b",account="default"}`:                                     `5x180`,
	`clipferry_budget_halted{instance="a",account="default",reason="key_refused"}`:                    `0x180`,
	`clipferry_budget_halted{instance="a",account="default",reason="provider_unavailable"}`:           `0x180`,
	`clipferry_budget_halted{instance="a",account="default",reason="out_of_units"}`:                   `0x180`,
	`clipferry_archive_halted{instance="a"}`:                                                          `0x180`,
	`clipferry_archive_halted{instance="b"}`:                                                          `0x180`,
	`clipferry_submits_in_doubt_total{instance="a",account="default"}`:                                `0x180`,
	`clipferry_submits_duplicate_total{instance="a",account="default"}`:                               `0x180`,
	`clipferry_provider_requests_total{instance="a",account="default",kind="read",result="answered"}`: `0+10x180`,
	`clipferry_provider_requests_total{instance="a",account="default",kind="read",result="refused"}`:  `0x180`,
	`clipferry_budget_units_held{instance="a",account="default"}`:                                     `0x180`,
	`clipferry_notifications_total{instance="a",outcome="delivered"}`:                                 `0+1x180`,
	`clipferry_notifications_total{instance="a",outcome="put_off"}`:                                   `0+0.5x180`,
	`clipferry_notifications_total{instance="a",outcome="gave_up"}`:                                   `0x180`,
	`clipferry_notifications_total{instance="a",outcome="unsigned"}`:                                  `0x180`,
	`clipferry_queue_tasks{instance="a",queue="clipferry-notify",state="archived"}`:                   `0+1x180`,
	`clipferry_queue_oldest_seconds{instance="a",queue="clipferry-submit"}`:                           `7200x180`,
	`clipferry_queue_oldest_seconds{instance="a",queue="clipferry-mirror"}`:                           `20x180`,
	`clipferry_queue_tasks{instance="a",queue="clipferry-poll",state="archived"}`:                     `3x180`,
	`clipferry_queue_paused{instance="a",queue="clipferry-mirror"}`:                                   `0x180`,
	`clipferry_sweep_last_success_timestamp_seconds{instance="a"}`:                                    `0+60x180`,
	`clipferry_sweep_last_success_timestamp_seconds{instance="b"}`:                                    `0x180`,
	`clipferry_mirror_duration_seconds_count{instance="a",outcome="ok"}`:                              `0+10x180`,
	`clipferry_mirror_duration_seconds_count{instance="a",outcome="error"}`:                           `0+1x180`,
	`clipferry_redis_memory_used_ratio{instance="a"}`:                                                 `0.4x180`,
	`clipferry_redis_noeviction{instance="a"}`:                                                        `1x180`,
	`clipferry_redis_aof_enabled{instance="a"}`:                                                       `1x180`,
	`clipferry_redis_persistence_ok{instance="a"}`:                                                    `1x180`,
	`clipferry_redis_errors_total{instance="a",reason="timeout"}`:                                     `0x180`,
	`clipferry_s3_requests_total{instance="a",operation="PutObject",result="ok"}`:                     `0+100x180`,
	`clipferry_s3_requests_total{instance="a",operation="PutObject",result="denied"}`:                 `0x180`,
	`clipferry_s3_requests_total{instance="a",operation="HeadObject",result="missing"}`:               `0+100x180`,
	`clipferry_s3_requests_total{instance="a",operation="PutObject",result="server_error"}`:           `0x180`,
	`clipferry_verify_oldest_timestamp_seconds{instance="a"}`:                                         `1+60x180`,
	`clipferry_verify_oldest_timestamp_seconds{instance="b"}`:                                         `0x180`,
	`clipferry_verify_period_seconds{instance="a"}`:                                                   `3600x180`,
	`clipferry_verify_bad_files{instance="a"}`:                                                        `0x180`,
	`clipferry_source_up{instance="a",source="queues"}`:                                               `1x180`,
	`clipferry_source_up{instance="b",source="queues"}`:                                               `1x180`,
}

// ill are fleets that are well but for one thing, and the alerts that fire then.
var ill = []struct {
	name    string
	but     map[string]string // the series that differ; an empty one is missing
	minutes []int             // after how many minutes the alerts are looked at
	fires   []string
}{
	{
		name:    "a healthy fleet, also at work on a backlog",
		minutes: []int{1, 30, 120, 180},
	},
	{
		name: "one clip with an hour left, and nothing is archived",
		but: map[string]string{
			`clipferry_clips_due{instance="a",within="1h"}`:  `1x180`,
			`clipferry_clips_due{instance="a",within="6h"}`:  `1x180`,
			`clipferry_clips_due{instance="a",within="24h"}`: `1x180`,
			`clipferry_clips_archived_total{instance="a"}`:   `7x180`,
		},
		minutes: []int{40},
		fires:   []string{"ClipferryClipWillMissItsDeadline"},
	},
	{
		name: "more is due within a day than the fleet archives in one",
		but: map[string]string{
			`clipferry_clips_due{instance="a",within="24h"}`: `2000x180`,
		},
		minutes: []int{80},
		fires:   []string{"ClipferryClipWillMissItsDeadline"},
	},
	{
		name: "much is due within a day, and the fleet makes it",
		but: map[string]string{
			`clipferry_clips_due{instance="a",within="24h"}`: `1000x180`,
		},
		minutes: []int{80},
	},
	{
		name: "an export past half a day before its end",
		but: map[string]string{
			`clipferry_headroom_least_seconds{instance="a"}`: `22200-60x180`,
		},
		minutes: []int{40},
		fires:   []string{"ClipferryDeadlineNear"},
	},
	{
		name: "an export expired",
		but: map[string]string{
			`clipferry_exports_ended_total{instance="a",state="expired"}`: `0x30 1x150`,
		},
		minutes: []int{32},
		fires:   []string{"ClipferryExportExpired"},
	},
	{
		name: "the key is refused",
		but: map[string]string{
			`clipferry_budget_halted{instance="a",account="default",reason="key_refused"}`: `1x180`,
		},
		minutes: []int{5},
		fires:   []string{"ClipferryKeyRefused"},
	},
	{
		name: "no units are left",
		but: map[string]string{
			`clipferry_budget_halted{instance="a",account="default",reason="out_of_units"}`: `1x180`,
		},
		minutes: []int{5},
		fires:   []string{"ClipferryOrdersHalted"},
	},
	{
		name: "the provider is down",
		but: map[string]string{
			`clipferry_budget_halted{instance="a",account="default",reason="provider_unavailable"}`: `1x180`,
		},
		minutes: []int{15},
		fires:   []string{"ClipferryProviderDown"},
	},
	{
		name: "S3 is down",
		but: map[string]string{
			`clipferry_archive_halted{instance="a"}`: `1x180`,
			`clipferry_archive_halted{instance="b"}`: `1x180`,
		},
		minutes: []int{5},
		fires:   []string{"ClipferryArchiveHalted"},
	},
	{
		name: "S3 is down for one worker of two",
		but: map[string]string{
			`clipferry_archive_halted{instance="a"}`: `1x180`,
		},
		minutes: []int{5, 60},
	},
	{
		name: "the first submit in doubt",
		but: map[string]string{
			`clipferry_submits_in_doubt_total{instance="a",account="default"}`: `0x30 1x150`,
		},
		minutes: []int{32},
		fires:   []string{"ClipferrySubmitInDoubt"},
	},
	{
		name: "paid twice",
		but: map[string]string{
			`clipferry_submits_duplicate_total{instance="a",account="default"}`: `0x30 1x150`,
		},
		minutes: []int{32},
		fires:   []string{"ClipferryPaidTwice"},
	},
	{
		name: "an export is held",
		but: map[string]string{
			`clipferry_exports{instance="a",state="held"}`: `1x180`,
		},
		minutes: []int{15},
		fires:   []string{"ClipferryExportsHeld"},
	},
	{
		name: "somebody else uses the key",
		but: map[string]string{
			`clipferry_provider_requests_total{instance="a",account="default",kind="read",result="refused"}`: `0+1x180`,
		},
		minutes: []int{60},
		fires:   []string{"ClipferryRefusals"},
	},
	{
		name: "slots leak",
		but: map[string]string{
			`clipferry_budget_slots_used{instance="a",account="default"}`: `7x180`,
		},
		minutes: []int{40},
		fires:   []string{"ClipferrySlotsLeak"},
	},
	{
		name: "the day's cap is reached and exports wait",
		but: map[string]string{
			`clipferry_budget_units_held{instance="a",account="default"}`: `1x180`,
		},
		minutes: []int{20},
		fires:   []string{"ClipferryDailyCapHolds"},
	},
	{
		name: "a receiver of webhooks is down",
		but: map[string]string{
			`clipferry_notifications_total{instance="a",outcome="put_off"}`: `0+2x180`,
		},
		minutes: []int{100},
		fires:   []string{"ClipferryWebhooksFail"},
	},
	{
		name: "a receiver of webhooks was down for a moment",
		but: map[string]string{
			`clipferry_notifications_total{instance="a",outcome="put_off"}`: `0x30 200x150`,
		},
		minutes: []int{35, 45, 61, 80},
	},
	{
		name: "a webhook was given up",
		but: map[string]string{
			`clipferry_notifications_total{instance="a",outcome="gave_up"}`: `0x30 1x150`,
		},
		minutes: []int{32},
		fires:   []string{"ClipferryProducersNotTold"},
	},
	{
		name: "webhooks without a signing secret",
		but: map[string]string{
			`clipferry_notifications_total{instance="a",outcome="unsigned"}`: `0x30 1x150`,
		},
		minutes: []int{32},
		fires:   []string{"ClipferryProducersNotTold"},
	},
	{
		name: "no process is ready",
		but: map[string]string{
			`clipferry_ready{instance="a"}`: `0x180`,
			`clipferry_ready{instance="b"}`: `0x180`,
		},
		minutes: []int{5},
		fires:   []string{"ClipferryNotReady"},
	},
	{
		name: "no process is there",
		but: map[string]string{
			`clipferry_ready{instance="a"}`: ``,
			`clipferry_ready{instance="b"}`: ``,
		},
		minutes: []int{5},
		fires:   []string{"ClipferryNotReady"},
	},
	{
		name: "one of two is not ready",
		but: map[string]string{
			`clipferry_ready{instance="b"}`: `0x180`,
		},
		minutes: []int{5},
	},
	{
		name: "one of two is down",
		but: map[string]string{
			`up{job="clipferry",instance="b"}`: `0x180`,
		},
		minutes: []int{10},
		fires:   []string{"ClipferryInstanceDown"},
	},
	{
		name: "every fifth export fails",
		but: map[string]string{
			`clipferry_exports_ended_total{instance="a",state="failed"}`: `0+0.25x180`,
		},
		minutes: []int{80},
		fires:   []string{"ClipferryExportsFail"},
	},
	{
		name: "transfers wait for workers",
		but: map[string]string{
			`clipferry_queue_oldest_seconds{instance="a",queue="clipferry-mirror"}`: `900x180`,
		},
		minutes: []int{10},
		fires:   []string{"ClipferryQueueStuck"},
	},
	{
		name: "the backlog is longer than a day",
		but: map[string]string{
			`clipferry_queue_oldest_seconds{instance="a",queue="clipferry-submit"}`: `90000x180`,
		},
		minutes: []int{20},
		fires:   []string{"ClipferryBacklogLong"},
	},
	{
		name: "a dead letter",
		but: map[string]string{
			`clipferry_queue_tasks{instance="a",queue="clipferry-poll",state="archived"}`: `3x90 4x90`,
		},
		minutes: []int{100},
		fires:   []string{"ClipferryDeadLetters"},
	},
	{
		name: "a dead letter while Prometheus is not an hour old",
		but: map[string]string{
			`clipferry_queue_tasks{instance="a",queue="clipferry-poll",state="archived"}`: `3x20 4x160`,
		},
		minutes: []int{30},
		fires:   []string{"ClipferryDeadLetters"},
	},
	{
		name: "dead letters that were deleted, and a new one",
		but: map[string]string{
			`clipferry_queue_tasks{instance="a",queue="clipferry-poll",state="archived"}`: `3x70 0x10 1x100`,
		},
		minutes: []int{90},
		fires:   []string{"ClipferryDeadLetters"},
	},
	{
		name: "a dead letter of two hours ago",
		but: map[string]string{
			`clipferry_queue_tasks{instance="a",queue="clipferry-poll",state="archived"}`: `3x30 4x150`,
		},
		minutes: []int{150},
	},
	{
		name: "a queue is paused",
		but: map[string]string{
			`clipferry_queue_paused{instance="a",queue="clipferry-mirror"}`: `1x180`,
		},
		minutes: []int{40},
		fires:   []string{"ClipferryQueuePaused"},
	},
	{
		name: "nobody sweeps",
		but: map[string]string{
			`clipferry_sweep_last_success_timestamp_seconds{instance="a"}`: `600x180`,
		},
		minutes: []int{25},
		fires:   []string{"ClipferryNothingSweeps"},
	},
	{
		name: "transfers fail",
		but: map[string]string{
			`clipferry_mirror_duration_seconds_count{instance="a",outcome="error"}`: `0+5x180`,
		},
		minutes: []int{40},
		fires:   []string{"ClipferryTransfersFail"},
	},
	{
		name: "Redis fills up",
		but: map[string]string{
			`clipferry_redis_memory_used_ratio{instance="a"}`: `0.71x180`,
		},
		minutes: []int{10},
		fires:   []string{"ClipferryRedisMemory"},
	},
	{
		name: "Redis may evict",
		but: map[string]string{
			`clipferry_redis_noeviction{instance="a"}`: `0x180`,
		},
		minutes: []int{10},
		fires:   []string{"ClipferryRedisEvicts"},
	},
	{
		name: "Redis without an AOF",
		but: map[string]string{
			`clipferry_redis_aof_enabled{instance="a"}`: `0x180`,
		},
		minutes: []int{20},
		fires:   []string{"ClipferryRedisWithoutAOF"},
	},
	{
		name: "the disk of Redis is full",
		but: map[string]string{
			`clipferry_redis_persistence_ok{instance="a"}`: `0x180`,
		},
		minutes: []int{5},
		fires:   []string{"ClipferryRedisDisk"},
	},
	{
		name: "Redis commands fail",
		but: map[string]string{
			`clipferry_redis_errors_total{instance="a",reason="timeout"}`: `0+60x180`,
		},
		minutes: []int{20},
		fires:   []string{"ClipferryRedisErrors"},
	},
	{
		name: "S3 denies",
		but: map[string]string{
			`clipferry_s3_requests_total{instance="a",operation="PutObject",result="denied"}`: `0+1x180`,
		},
		minutes: []int{15},
		fires:   []string{"ClipferryS3Denied"},
	},
	{
		name: "S3 fails",
		but: map[string]string{
			`clipferry_s3_requests_total{instance="a",operation="PutObject",result="server_error"}`: `0+20x180`,
		},
		minutes: []int{25},
		fires:   []string{"ClipferryS3Errors"},
	},
	{
		name:    "an archived file has changed",
		but:     map[string]string{`clipferry_verify_bad_files{instance="a"}`: `0x30 1x150`},
		minutes: []int{45},
		fires:   []string{"ClipferryArchiveDamaged"},
	},
	{
		name:    "nothing is verified any more",
		but:     map[string]string{`clipferry_verify_oldest_timestamp_seconds{instance="a"}`: `1x180`},
		minutes: []int{170},
		fires:   []string{"ClipferryVerificationBehind"},
	},
	{
		name: "no process can read the queues",
		but: map[string]string{
			`clipferry_source_up{instance="a",source="queues"}`: `0x180`,
			`clipferry_source_up{instance="b",source="queues"}`: `0x180`,
		},
		minutes: []int{15},
		fires:   []string{"ClipferryMetricsMissing"},
	},
	{
		name: "one process can not read the queues",
		but: map[string]string{
			`clipferry_source_up{instance="b",source="queues"}`: `0x180`,
		},
		minutes: []int{15},
	},
}

// TestAlertsFire runs every alert through promtool: that it fires when it must,
// and that nothing else fires then.
func TestAlertsFire(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, "rule_files: [%s]\nevaluation_interval: 1m\ntests:\n", absolute(t, rulesFile))
	tried := map[string]bool{}
	for _, c := range ill {
		series := maps.Clone(well)
		for name, values := range c.but {
			if _, ok := series[name]; !ok {
				t.Errorf("%s: the fleet that is well has no %s", c.name, name)
			}
			series[name] = values
		}
		fmt.Fprintf(&b, "- name: %s\n  interval: 1m\n  input_series:\n", c.name)
		for _, name := range slices.Sorted(maps.Keys(series)) {
			if series[name] != "" {
				fmt.Fprintf(&b, "  - {series: '%s', values: '%s'}\n", name, series[name])
			}
		}
		b.WriteString("  promql_expr_test:\n")
		for _, minute := range c.minutes {
			fmt.Fprintf(&b, "  - expr: 'count by (alertname) (ALERTS{alertstate=\"firing\"})'\n    eval_time: %dm\n    exp_samples:\n", minute)
			for _, alert := range c.fires {
				fmt.Fprintf(&b, "    - {labels: '{alertname=\"%s\"}', value: 1}\n", alert)
				tried[alert] = true
			}
		}
	}
	for _, r := range rules(t) {
		if !tried[r.Alert] {
			t.Errorf("nothing shows that %s fires", r.Alert)
		}
	}
	file := filepath.Join(t.TempDir(), "alerts_test.yml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, filepath.Dir(file), "test", "rules", file)
}
