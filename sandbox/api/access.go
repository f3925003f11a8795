package api

import (
	"maps"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
)

// access says who may call one route. The zero access lets nobody in.
type access struct {
	anyone bool     // unsigned requests too
	allow  []string // "role" or "role/duty"
	stream bool     // the body is sealed frames, signed by the digest of their opening
	export bool     // the result is streamed
	body   int64    // bytes of a JSON body; 0: MaxBody
	dear   bool     // costs costDear
	polled bool     // by machines: what succeeds is not logged

	message bool // the body is a message of a sum, signed by its own digest, that the Service reads
}

// Routes beside the generated ones.
const (
	routeHealth   = "GET /healthz"
	routeDocument = "GET /openapi.yaml"
	routeMetrics  = "GET /metrics"
)

// Bounds of bodies by what they hold.
const (
	shortForm  = 4 << 10   // a few short fields
	signedForm = 256 << 10 // one signed statement
	imageForm  = 24 << 20  // the image of an algorithm of 16 MiB, in base64
	scoreForm  = 64 << 20  // an asker's keys and ciphertexts, in base64
)

// Bodies above imageForm that are held at once, in all and of a party: each is several times its size while it is read.
const (
	largeAtOnce   = 4
	largeOfAParty = 1
)

func (a access) bodyBound() int64 {
	if a.body == 0 {
		return MaxBody
	}
	return a.body
}

// tokens is what a call of the route costs its identity.
func (a access) tokens(route string) int {
	switch {
	case a.dear:
		return costDear
	case strings.HasPrefix(route, "GET "):
		return costRead
	}
	return costWrite
}

func (a access) upTo(bytes int64) access { a.body = bytes; return a }
func (a access) costly() access          { a.dear = true; return a }
func (a access) streamed() access        { a.export = true; return a }
func (a access) quietly() access         { a.polled = true; return a }

func anyone() access                { return access{anyone: true} }
func only(allow ...string) access   { return access{allow: allow} }
func frames(allow ...string) access { return access{allow: allow, stream: true} }
func (a access) String() string     { return strings.Join(a.allow, ", ") }
func roleOf(entry string) (r, d string) {
	r, d, _ = strings.Cut(entry, "/")
	return r, d
}

// permits says whether an identity of a party may call the route.
func (a access) permits(p sandbox.Party, id sandbox.Identity) bool {
	for _, entry := range a.allow {
		role, duty := roleOf(entry)
		if string(p.Role) == role && (duty == "" || string(id.Duty) == duty) {
			return true
		}
	}
	return false
}

// routes is the table of who may call what (岗位权限表), by pattern. A route that is not here is not found. It says the same as
// x-allow in openapi.yaml, which a test compares. 依据: 龙华区实施方案 六(二)2 (实施机构与运营机构分离): the agency reviews and
// cannot ask, askers cannot approve.
func routes() map[string]access {
	everyone := only("agency", "operator", "partner", "insurer", "unit", "subject", "auditor")
	billed := only("agency", "operator", "partner", "insurer", "unit", "auditor")
	asked := only("agency", "operator", "partner", "unit", "auditor")
	admit := only("agency/officer")
	officers := only("agency/officer", "operator/officer", "partner/officer", "insurer/officer", "unit/officer", "subject/officer", "auditor/officer")
	reviewed := only("agency", "unit", "operator/reviewer")
	table := map[string]access{
		"GET /v1/domain":                                         anyone(),
		"GET /v1/evidence/checkpoint":                            anyone(),
		"GET /v1/evidence/entries/{index}/proof":                 everyone,
		"POST /v1/evidence/growth":                               everyone.upTo(signedForm),
		"GET /v1/authority":                                      anyone().quietly(),
		"GET /v1/overdue":                                        only("agency", "unit", "auditor"),
		"GET /v1/quarantine":                                     only("agency", "unit", "auditor"),
		"POST /v1/datasets/{dataset}/versions/{version}/erasure": only("unit/officer", "agency/officer").upTo(shortForm),
		"POST /v1/identities/{identity}/certificates":            everyone.upTo(signedForm),
		"GET /v1/evidence/bundle":                                everyone.streamed().costly(),
		"POST /v1/parties":                                       admit,
		"POST /v1/subjects":                                      admit.upTo(signedForm),
		"POST /v1/identities/{identity}/revoke":                  officers.upTo(shortForm),
		"POST /v1/identities/{identity}/keys":                    everyone.upTo(shortForm),
		"POST /v1/datasets":                                      only("unit/officer"),
		"GET /v1/datasets":                                       everyone,
		"GET /v1/datasets/{dataset}":                             everyone,
		"GET /v1/catalog/search":                                 everyone,
		"GET /v1/catalog/entries":                                everyone,
		"POST /v1/catalog/entries":                               admit.upTo(shortForm),
		"GET /v1/catalog/conflicts":                              only("agency", "unit", "auditor").costly(),
		"PUT /v1/datasets/{dataset}":                             only("unit/officer"),
		"GET /v1/datasets/{dataset}/revisions":                   everyone,
		"GET /v1/datasets/{dataset}/schemas":                     everyone,
		"GET /v1/datasets/{dataset}/quality":                     only("agency", "unit", "auditor"),
		"GET /v1/datasets/{dataset}/classification":              only("agency", "unit", "auditor"),
		"POST /v1/datasets/{dataset}/classification":             only("unit/officer"),
		"GET /v1/classification/rules":                           only("agency", "unit", "auditor"),
		"POST /v1/classification/rules":                          admit.upTo(signedForm).costly(),
		"GET /v1/classification/regradings":                      only("agency", "unit", "auditor"),
		"GET /v1/classification/affected":                        billed.costly(),
		"PUT /v1/datasets/{dataset}/masking":                     only("unit/officer"),
		"GET /v1/datasets/{dataset}/masking":                     only("agency", "unit", "auditor"),
		"POST /v1/views":                                         only("unit/officer", "agency/officer").costly(),
		"GET /v1/views":                                          only("agency", "unit", "auditor"),
		"POST /v1/submissions":                                   only("operator/officer", "partner/officer").upTo(shortForm).costly(),
		"POST /v1/traces":                                        only("agency/officer").costly(),
		"DELETE /v1/views/{view}":                                only("unit/officer", "agency/officer").upTo(shortForm),
		"POST /v1/pushes":                                        only("unit/officer").upTo(signedForm),
		"GET /v1/pushes":                                         only("unit", "agency", "auditor"),
		"DELETE /v1/pushes/{run}":                                only("unit/officer", "agency/officer").upTo(shortForm),
		"GET /v1/pushes/{run}":                                   only("unit"),
		"PUT /v1/pushes/{run}/frames":                            frames("unit/officer").costly(),
		"POST /v1/scenarios":                                     only("operator/officer", "partner/officer"),
		"GET /v1/scenarios":                                      everyone,
		"GET /v1/scenarios/{scenario}":                           everyone,
		"POST /v1/scenarios/{scenario}/decisions":                only("operator/officer", "agency/officer", "unit/officer").upTo(signedForm),
		"POST /v1/scenarios/{scenario}/signatures":               only("operator/officer", "agency/officer", "unit/officer", "partner/officer", "insurer/officer").upTo(signedForm),
		"POST /v1/consents":                                      only("subject/officer").upTo(signedForm),
		"GET /v1/consents/{consent}":                             only("subject", "auditor"),
		"POST /v1/consents/{consent}/revocation":                 only("subject/officer").upTo(signedForm),
		"POST /v1/questions/explain":                             only("operator", "partner").costly(),
		routeCompile:                                             only("operator", "partner").costly(),
		"POST /v1/questions":                                     only("operator/officer", "partner/officer").costly(),
		"GET /v1/questions":                                      asked,
		"GET /v1/questions/{question}":                           asked,
		"GET /v1/questions/{question}/shares":                    admit,
		"POST /v1/questions/{question}/shares":                   admit.upTo(signedForm).costly(),
		"POST /v1/questions/{question}/shares/pushed":            only("agency/officer", "unit/officer").upTo(signedForm).costly(),
		"DELETE /v1/questions/{question}/shares":                 only("agency/officer", "operator/officer", "partner/officer").upTo(shortForm),
		"POST /v1/claims":                                        only("insurer/officer").upTo(signedForm).costly(),
		"GET /v1/reviews":                                        reviewed,
		"GET /v1/reviews/{question}":                             reviewed,
		"POST /v1/reviews/{question}/votes":                      only("agency/reviewer", "unit/reviewer", "operator/reviewer").upTo(signedForm),
		"POST /v1/reviews/{question}/acts":                       only("agency", "unit", "operator", "partner").upTo(signedForm).costly(),
		"GET /v1/templates":                                      asked,
		"POST /v1/templates":                                     admit.upTo(signedForm),
		"POST /v1/templates/{template}/stop":                     admit.upTo(signedForm),
		"GET /v1/algorithms":                                     asked,
		"POST /v1/algorithms":                                    admit.upTo(imageForm).costly(),
		"GET /v1/algorithms/{algorithm}":                         asked,
		"POST /v1/algorithms/{algorithm}/withdrawal":             admit.upTo(signedForm),
		"POST /v1/algorithms/{algorithm}/explain":                only("operator", "partner").upTo(shortForm).costly(),
		"POST /v1/algorithms/{algorithm}/questions":              only("operator/officer", "partner/officer").upTo(shortForm).costly(),
		"GET /v1/models":                                         billed,
		"POST /v1/models":                                        only("operator/officer", "partner/officer").upTo(signedForm),
		"GET /v1/models/{model}":                                 billed,
		"POST /v1/models/{model}/approval":                       admit.upTo(signedForm),
		"POST /v1/models/{model}/withdrawal":                     only("agency/officer", "operator/officer", "partner/officer").upTo(signedForm),
		"POST /v1/models/{model}/scores":                         only("operator/officer", "partner/officer", "insurer/officer").upTo(scoreForm).costly(),
		"GET /v1/releases":                                       billed,
		"GET /v1/releases/{release}":                             only("operator", "partner", "insurer"),
		"GET /v1/usage":                                          billed,
		"POST /v1/invoices":                                      admit.upTo(shortForm),
		"GET /v1/invoices":                                       billed,
		"GET /v1/invoices/{invoice}":                             billed,
	}
	maps.Copy(table, sumRoutes(asked))
	maps.Copy(table, jointRoutes(asked))
	return table
}
