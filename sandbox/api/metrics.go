package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/opdomain/opdomain/sandbox"
)

// Steps that counts depending on data are rounded up to, so that a metric does not tell one record from none.
const (
	RowStep    = 1024      // rows of one push
	SealedStep = 64 * 1024 // sealed bytes of one push
)

// Metrics (运行指标) is the domain's Prometheus registry, its own and not the process-wide one. Labels come from closed lists:
// kinds, outcomes, codes and classes, never identifiers.
type Metrics struct {
	registry *prometheus.Registry
	jobs     *prometheus.CounterVec
	refusals *prometheus.CounterVec
	rows     prometheus.Counter
	sealed   prometheus.Counter
	queueAge prometheus.Gauge
	overdue  prometheus.Gauge
	releases *prometheus.CounterVec
	requests *prometheus.HistogramVec
}

// NewMetrics gives a registry with every metric at zero.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		jobs: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "opdomain_jobs_total",
			Help: "Jobs by kind and outcome."}, []string{"kind", "outcome"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "opdomain_refusals_total",
			Help: "Refusals by reason code."}, []string{"code"}),
		rows: prometheus.NewCounter(prometheus.CounterOpts{Name: "opdomain_rows_in_total",
			Help: "Rows committed, each push rounded up to the next multiple of 1024."}),
		sealed: prometheus.NewCounter(prometheus.CounterOpts{Name: "opdomain_sealed_bytes_total",
			Help: "Bytes sealed into the vault, each push rounded up to the next multiple of 65536."}),
		queueAge: prometheus.NewGauge(prometheus.GaugeOpts{Name: "opdomain_queue_age_seconds",
			Help: "Age of the oldest result that waits for its reviewers, in whole minutes."}),
		overdue: prometheus.NewGauge(prometheus.GaugeOpts{Name: "opdomain_overdue_datasets",
			Help: "Datasets whose next version is overdue by their update frequency."}),
		releases: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "opdomain_releases_total",
			Help: "Releases by output class."}, []string{"class"}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "opdomain_request_duration_seconds",
			Help: "Requests by route and status.", Buckets: []float64{0.01, 0.05, 0.25, 1, 5, 30}}, []string{"route", "status"}),
	}
	m.registry.MustRegister(m.jobs, m.refusals, m.rows, m.sealed, m.queueAge, m.overdue, m.releases, m.requests)
	return m
}

// Job counts one finished job, e.g. "push" "committed" or "question" "in-review".
func (m *Metrics) Job(kind, outcome string) { m.jobs.WithLabelValues(kind, outcome).Inc() }

// Refused counts one refusal by its reason code.
func (m *Metrics) Refused(code string) { m.refusals.WithLabelValues(code).Inc() }

// Pushed counts one committed push, rounded up to RowStep and SealedStep.
func (m *Metrics) Pushed(rows, sealed int64) {
	m.rows.Add(float64(roundUp(rows, RowStep)))
	m.sealed.Add(float64(roundUp(sealed, SealedStep)))
}

// QueueAge sets the age of the oldest result that waits for its reviewers.
func (m *Metrics) QueueAge(d time.Duration) { m.queueAge.Set(d.Truncate(time.Minute).Seconds()) }

// Overdue sets how many datasets are behind their update frequency (更新逾期).
func (m *Metrics) Overdue(datasets int) { m.overdue.Set(float64(datasets)) }

// Released counts one release.
func (m *Metrics) Released(class sandbox.Class) { m.releases.WithLabelValues(string(class)).Inc() }

func (m *Metrics) request(route string, status int, d time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Observe(d.Seconds())
}

func (m *Metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// roundUp gives the next multiple of step above n: nothing and one record look the same.
func roundUp(n, step int64) int64 { return (max(n, 0)/step + 1) * step }
