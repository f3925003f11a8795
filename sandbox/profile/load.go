package profile

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

//go:embed longhua.json futian.json guangming.json
var files embed.FS

// Names lists the districts shipped with the product.
func Names() []string { return []string{"futian", "guangming", "longhua"} }

// Load reads one shipped profile. An unknown name is NotFound.
func Load(name string) (Profile, error) {
	if !slices.Contains(Names(), name) {
		return Profile{}, &sandbox.Error{Op: "profile: load", Kind: sandbox.NotFound, Object: "district",
			Detail: "no profile of this name is shipped", Hint: "use one of futian, guangming, longhua"}
	}
	b, err := files.ReadFile(name + ".json")
	if err != nil {
		return Profile{}, &sandbox.Error{Op: "profile: load", Kind: sandbox.Internal, Object: name, Err: err}
	}
	p, err := Parse(b)
	if err == nil && p.Name != name {
		return Profile{}, bad(name, "the profile's name is its file's name")
	}
	return p, err
}

// MaxBytes bounds a profile file.
const MaxBytes = 1 << 20

// Parse reads and validates a profile file. Written again it must give the same bytes but for white space: that refuses
// unknown, missing, misspelt and repeated keys at once, which encoding/json alone lets pass.
func Parse(b []byte) (Profile, error) {
	if len(b) > MaxBytes {
		return Profile{}, &sandbox.Error{Op: "profile: parse", Kind: sandbox.TooLarge, Object: "file", Detail: fmt.Sprintf("at most %d bytes", MaxBytes)}
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var p Profile
	if err := dec.Decode(&p); err != nil {
		return Profile{}, bad("file", "a JSON object with the known keys only")
	}
	var given, again bytes.Buffer
	if err := json.Compact(&given, b); err != nil {
		return Profile{}, bad("file", "one JSON object and nothing after it")
	}
	enc := json.NewEncoder(&again)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(p); err != nil {
		return Profile{}, bad("file", "values that can be written")
	}
	if !bytes.Equal(given.Bytes(), bytes.TrimSuffix(again.Bytes(), []byte("\n"))) {
		return Profile{}, bad("file", "every key stands once, in the documented order and spelling")
	}
	if err := p.Validate(); err != nil {
		return Profile{}, err
	}
	return p, nil
}

func bad(object, rule string) error {
	return &sandbox.Error{Op: "profile: validate", Kind: sandbox.Invalid, Object: object, Detail: rule}
}

// check holds one value to its range and wants its article.
func check[T any](at string, v Value[T], ok bool, rule string) error {
	if v.Article == "" {
		return bad(at, "every value names the clause it follows, or its position")
	}
	if !ok {
		return bad(at, rule)
	}
	return nil
}

func between(at string, v Value[int], low, high int) error {
	return check(at, v, v.Value >= low && v.Value <= high, fmt.Sprintf("%d to %d", low, high))
}

// Validate holds every value to its range. The error names the field and the rule.
func (p *Profile) Validate() error {
	if err := sandbox.CheckID("profile name", p.Name); err != nil {
		return err
	}
	if err := sandbox.CheckID("profile version", p.Version); err != nil {
		return err
	}
	if p.Title == "" {
		return bad("title", "a profile names its district")
	}
	for _, r := range []sandbox.Role{sandbox.Agency, sandbox.Operator, sandbox.Partner, sandbox.Unit} {
		if err := check("roles."+string(r), p.Roles[r], p.Roles[r].Value != "", "the district's name of the role"); err != nil {
			return err
		}
	}
	if len(p.Roles) != 4 {
		return bad("roles", "agency, operator, partner and unit, no other")
	}
	method := func(m string) bool { return sandbox.CheckID("method", m) != nil }
	for _, err := range []error{
		between("term.agreement_years", p.Term.AgreementYears, 1, 10),
		between("clock.operator", p.Clock.Operator, 1, 60),
		between("clock.agency", p.Clock.Agency, 1, 60),
		between("clock.unit", p.Clock.Unit, 1, 60),
		between("retention.years", p.Retention.Years, 1, 30),
		check("retention.whole_if_shorter", p.Retention.WholeIfShorter, true, ""),
		between("consent.max_days", p.Consent.MaxDays, 1, 3660),
		between("consent.max_uses", p.Consent.MaxUses, 1, 1000),
		check("consent.methods", p.Consent.Methods, len(p.Consent.Methods.Value) > 0 && !slices.ContainsFunc(p.Consent.Methods.Value, method),
			"at least one method, each an identifier"),
		check("engine.max_grade_p1", p.Engine.MaxGradeP1, p.Engine.MaxGradeP1.Value.Valid() && p.Engine.MaxGradeP1.Value <= sandbox.Grade3,
			"1 to 3: a district may tighten the matrix, never loosen it"),
		check("engine.max_grade_p2", p.Engine.MaxGradeP2, p.Engine.MaxGradeP2.Value.Valid() && p.Engine.MaxGradeP2.Value <= sandbox.Grade2,
			"1 to 2: a district may tighten the matrix, never loosen it"),
		between("gate.min_subjects", p.Gate.MinSubjects, 3, 100_000),
		between("gate.dominance_n", p.Gate.DominanceN, 1, 2),
		between("gate.dominance_k", p.Gate.DominanceK, 1, 100),
		between("gate.p_percent", p.Gate.PPercent, 1, 99),
		between("gate.prior", p.Gate.Prior, p.Gate.PPercent.Value+1, 100),
		between("gate.max_bits", p.Gate.MaxBits, 1, sandbox.MaxMaxBits),
		check("bits.per_question", p.Bits.PerQuestion, p.Bits.PerQuestion.Value >= 2, "at least 2: three outcomes are seen"),
		check("bits.per_grant", p.Bits.PerGrant, p.Bits.PerGrant.Value >= p.Bits.PerQuestion.Value && p.Bits.PerGrant.Value <= 1<<32,
			"at least one question, at most 2^32 bits"),
		check("bits.carried_per_grant", p.Bits.Carried, p.Bits.Carried.Value >= 0 && p.Bits.Carried.Value <= 1<<32, "0, for none, to 2^32 bits"),
		check("privacy.epsilon_micro", p.Privacy.Epsilon, p.Privacy.Epsilon.Value >= sandbox.MinEpsilon && p.Privacy.Epsilon.Value <= sandbox.MaxEpsilon, "a thousandth to 20, in 10⁻⁶"),
		check("privacy.delta_pico", p.Privacy.Delta, p.Privacy.Delta.Value >= 1 && p.Privacy.Delta.Value <= 10*sandbox.MaxDelta, "up to 10⁻⁵, in 10⁻¹²"),
		between("privacy.round_base", p.Privacy.RoundBase, 2, 1000),
		between("privacy.cell_key_variance", p.Privacy.KeyVariance, 1, 256),
		check("privacy.cell_key_bound", p.Privacy.KeyBound, p.Privacy.KeyBound.Value <= 32 && p.Privacy.KeyBound.Value*p.Privacy.KeyBound.Value >= 4*p.Privacy.KeyVariance.Value && p.Privacy.KeyBound.Value > 0,
			"at least twice the root of the variance, at most 32"),
		between("release.approval_days", p.Release.ApprovalDays, 1, 366),
		between("release.valid_days", p.Release.ValidDays, 1, 3660),
		check("catalogue.exclude_not_open", p.Catalogue.ExcludeNotOpen, true, ""),
	} {
		if err != nil {
			return err
		}
	}
	return p.Prices.validate()
}

func (b *PriceBook) validate() error {
	if err := sandbox.CheckID("prices.version", b.Version); err != nil {
		return err
	}
	if len(b.Prices) == 0 {
		return bad("prices", "a price book has prices")
	}
	seen := map[string]bool{}
	for _, p := range b.Prices {
		if err := sandbox.CheckID("prices product", p.Product); err != nil {
			return err
		}
		at := "prices." + p.Product
		if seen[p.Product] {
			return bad(at, "a product has one price")
		}
		seen[p.Product] = true
		// The bound keeps price × quantity of any real month inside 64 bits.
		if p.Price < 0 || p.Price > 1_000_000_000 {
			return bad(at, "0 to 10,000,000 yuan")
		}
		if p.Title == "" || p.Unit == "" || p.Article == "" {
			return bad(at, "a price has a title, a unit and its article")
		}
	}
	var sum int64
	roles := map[sandbox.Role]bool{}
	for _, s := range b.Shares {
		at := "shares." + string(s.Role)
		if !s.Role.Valid() || roles[s.Role] {
			return bad(at, "a known role has one share")
		}
		roles[s.Role] = true
		if s.Basis < 0 || s.Basis > 10_000 || s.Article == "" {
			return bad(at, "0 to 10000 basis points, with its article")
		}
		if (s.Role == sandbox.Unit || s.Role == sandbox.Agency) && !s.Credit {
			return bad(at, "source units and the agency are compensated in services, not in cash")
		}
		sum += s.Basis
	}
	if sum != 10_000 {
		return bad("shares", "the parts add up to 10000 basis points")
	}
	return nil
}
