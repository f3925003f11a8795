package attest

import (
	"bytes"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Contexts of what is said about scoring models.
const (
	ContextScoringModel    = "opdomain/scoring-model/v1"
	ContextScoringApproval = "opdomain/scoring-approval/v1"
	ContextScoringWithdraw = "opdomain/scoring-withdraw/v1"
)

type (
	// ScoringFeature (评分特征) is one feature of a scoring model, as its askers must know it.
	ScoringFeature struct {
		Name string  `json:"name"`
		Unit string  `json:"unit,omitempty"`
		Min  float64 `json:"min"` // inclusive
		Max  float64 `json:"max"` // inclusive
	}
	// ScoringModelFiling (密态评分模型申报) is the owner's word for one version of a scoring model: its form in the clear, its weights and bias as
	// HMAC-SM3 under a salt that goes to the domain sealed. Trained names the release of the class D result that it was made of, where
	// its owner gives one.
	ScoringModelFiling struct {
		Name       string            `json:"name"`
		Version    string            `json:"version"`
		Title      string            `json:"title,omitempty"`
		Link       string            `json:"link"`
		Features   []ScoringFeature  `json:"features"`
		Commitment []byte            `json:"commitment"`
		Trained    sandbox.ReleaseID `json:"trained,omitempty"`
		At         time.Time         `json:"at"`
	}
	// ScoringModelApproval (密态评分模型准入) is the agency's word that it may be asked. Filing is SM3 of the body that its owner signed.
	ScoringModelApproval struct {
		Name    string    `json:"name"`
		Version string    `json:"version"`
		Filing  []byte    `json:"filing"`
		At      time.Time `json:"at"`
	}
	// ScoringModelWithdrawal (密态评分模型撤回) ends its use at once: by the agency or its owner.
	ScoringModelWithdrawal struct {
		Name    string    `json:"name"`
		Version string    `json:"version"`
		Reason  string    `json:"reason"`
		At      time.Time `json:"at"`
	}
	// ScoringModelFiledBody (密态评分模型申报).
	ScoringModelFiledBody struct {
		Statement Statement `json:"statement"`
	}
	// ScoringModelApprovedBody (密态评分模型准入).
	ScoringModelApprovedBody struct {
		Statement Statement `json:"statement"`
	}
	// ScoringModelWithdrawnBody (密态评分模型撤回).
	ScoringModelWithdrawnBody struct {
		Statement Statement `json:"statement"`
	}
	// ScoringDecidedBody (密态评分判定): whether an asker's customers may be scored. Customers are those counted against the grant: all that a
	// ciphertext has room for, where nobody sees how many are in it. Today and Used are counted of the grant with them; PerDay and Total are what the
	// parties agreed on.
	ScoringDecidedBody struct {
		Scoring   sandbox.QuestionID `json:"scoring"`
		Model     sandbox.ModelID    `json:"model"`
		Scenario  sandbox.ScenarioID `json:"scenario,omitempty"`
		Asker     sandbox.IdentityID `json:"asker"`
		Customers int64              `json:"customers"`
		Allow     bool               `json:"allow"`
		Codes     []string           `json:"codes,omitempty"`
		Day       string             `json:"day,omitempty"` // 2006-01-02, Asia/Shanghai
		Today     int64              `json:"today,omitempty"`
		Used      int64              `json:"used,omitempty"`
		PerDay    int64              `json:"per_day,omitempty"`
		Total     int64              `json:"total,omitempty"`
		Policy    string             `json:"policy"`
		Request   []byte             `json:"request"` // SM3 of the signed request
	}
	// ScoringAnsweredBody (密态评分): how an allowed one ended. Answer is SM3 of the ciphertexts that went back, under the asker's own key; Fault is the
	// kind of what stopped it, after it was counted.
	ScoringAnsweredBody struct {
		Scoring sandbox.QuestionID `json:"scoring"`
		Engine  []byte             `json:"engine"` // SM3 of the posture of the engine's process
		Answer  []byte             `json:"answer,omitempty"`
		Fault   sandbox.Kind       `json:"fault,omitempty"`
	}
)

// scoringTrails are models and their uses, as the log shows them so far.
type scoringTrails struct {
	models map[sandbox.ModelID]*scoringModelTrail
	asked  map[sandbox.QuestionID]*scoringTrail
	used   map[string]int64 // by scenario and model
	today  map[string]int64 // and day
}

type scoringModelTrail struct {
	owner               sandbox.PartyID
	filing              []byte
	approved, withdrawn bool
}

type scoringTrail struct {
	ScoringDecidedBody
	metered, ended bool
}

const (
	scoringModelCheck = "scoring model"
	scoringCheck      = "scoring"
	scoringProduct    = "scoring-customers"
)

func (c *checker) scoringModel(name, version string) *scoringModelTrail {
	return c.scoring.models[sandbox.ModelID(name+"-"+version)]
}

// scoringFiled: by an officer of an operator or a partner, once a version, with a form and a commitment.
func (c *checker) scoringFiled(e Event, b ScoringModelFiledBody) error {
	var f ScoringModelFiling
	who, ok, err := c.statement(e, b.Statement, ContextScoringModel, &f)
	if err != nil || !ok {
		return err
	}
	twice := c.scoringModel(f.Name, f.Version) != nil
	if c.scoring.models == nil {
		c.scoring.models = map[sandbox.ModelID]*scoringModelTrail{}
	}
	digest := sm.Sum(b.Statement.Body)
	c.scoring.models[sandbox.ModelID(f.Name+"-"+f.Version)] = &scoringModelTrail{owner: who.Party, filing: digest[:]}
	role := c.parties[who.Party].Role
	names := map[string]bool{}
	for _, x := range f.Features {
		names[x.Name] = x.Min < x.Max && x.Name != ""
	}
	sound := len(f.Features) > 0 && len(names) == len(f.Features) && f.Link != ""
	for _, ok := range names {
		sound = sound && ok
	}
	return all(c.want((role == sandbox.Operator || role == sandbox.Partner) && who.Duty == sandbox.Officer, scoringModelCheck, "filed by an officer of an operator or a partner"),
		c.want(!twice, scoringModelCheck, "a version is filed once"),
		c.want(f.Name != "" && f.Version != "" && sound && len(f.Commitment) == sm.Size, scoringModelCheck, "with its features, each in a range, and a commitment to its weights"), c.dated(f.At, e))
}

// scoringApproved: what was filed, by an officer of the agency that is no affiliate of its owner, once, and not after it was withdrawn.
func (c *checker) scoringApproved(e Event, b ScoringModelApprovedBody) error {
	var a ScoringModelApproval
	who, ok, err := c.statement(e, b.Statement, ContextScoringApproval, &a)
	if err != nil || !ok {
		return err
	}
	if err := all(c.role(who.ID, scoringModelCheck, sandbox.Agency), c.want(who.Duty == sandbox.Officer, scoringModelCheck, "approved by an officer"), c.dated(a.At, e)); err != nil {
		return err
	}
	m := c.scoringModel(a.Name, a.Version)
	if m == nil {
		return c.shown(false, scoringModelCheck, "approved after it was filed")
	}
	before := m.approved
	m.approved = true
	return all(c.want(!before && !m.withdrawn, scoringModelCheck, "approved once, and not after it was withdrawn"), c.want(bytes.Equal(a.Filing, m.filing), scoringModelCheck, "what was filed is what was approved"),
		c.want(!sandbox.Affiliated(c.parties[who.Party], c.parties[m.owner]), scoringModelCheck, "not by an affiliate of its owner"))
}

func (c *checker) scoringWithdrawn(e Event, b ScoringModelWithdrawnBody) error {
	var w ScoringModelWithdrawal
	who, ok, err := c.statement(e, b.Statement, ContextScoringWithdraw, &w)
	if err != nil || !ok {
		return err
	}
	if err := all(c.want(w.Reason != "" && who.Duty == sandbox.Officer, scoringModelCheck, "withdrawn by an officer, for a reason"), c.dated(w.At, e)); err != nil {
		return err
	}
	m := c.scoringModel(w.Name, w.Version)
	if m == nil {
		return c.shown(false, scoringModelCheck, "withdrawn after it was filed")
	}
	before := m.withdrawn
	m.withdrawn = true
	return all(c.want(!before, scoringModelCheck, "withdrawn once"),
		c.want(c.parties[who.Party].Role == sandbox.Agency || who.Party == m.owner, scoringModelCheck, "withdrawn by the agency or its owner"))
}

// scoringDecided: an allowed one is of an approved model, by a party of the scenario's kind, and what is counted adds up within what was agreed.
func (c *checker) scoringDecided(e Event, b ScoringDecidedBody) error {
	if c.scoring.asked[b.Scoring] != nil {
		return &broken{scoringCheck, "decided once"}
	}
	if c.scoring.asked == nil {
		c.scoring.asked, c.scoring.used, c.scoring.today = map[sandbox.QuestionID]*scoringTrail{}, map[string]int64{}, map[string]int64{}
	}
	c.scoring.asked[b.Scoring] = &scoringTrail{ScoringDecidedBody: b}
	if err := all(c.want(b.Asker == e.Actor && b.Customers > 0 && len(b.Request) == sm.Size, scoringCheck, "by who asked, for customers, with the digest of the request"),
		c.want(b.Allow == (len(b.Codes) == 0), scoringCheck, "refused for a reason, allowed without one")); err != nil || !b.Allow {
		return err
	}
	who, ok := c.identities[b.Asker]
	if !ok {
		return c.shown(false, scoringCheck, "by an enrolled identity")
	}
	asks := []sandbox.Role{sandbox.Operator, sandbox.Partner, sandbox.Insurer}
	if err := all(c.want(slices.Contains(asks, c.parties[who.Party].Role), scoringCheck, "by an operator, a partner or an insurer"),
		c.want(b.Used <= b.Total && b.Today <= b.PerDay && b.Today <= b.Used && b.Customers <= b.Today, scoringCheck, "within the customers that were agreed on, a day and in all"),
		c.want(b.Day == e.At.In(shanghai()).Format(time.DateOnly), scoringCheck, "on the day it was counted for")); err != nil {
		return err
	}
	s := c.scenarios[b.Scenario]
	if err := c.shown(s != nil && s.grant != nil, scoringCheck, "under a grant"); err != nil {
		return err
	}
	m := c.scoring.models[b.Model]
	if m == nil {
		return c.shown(false, scoringCheck, "of a filed model")
	}
	key := string(b.Scenario) + "/" + string(b.Model)
	day := key + "/" + b.Day
	used, today := c.scoring.used[key]+b.Customers, c.scoring.today[day]+b.Customers
	c.scoring.used[key], c.scoring.today[day] = b.Used, b.Today
	return all(c.shown(m.approved, scoringCheck, "of an approved model"), c.want(!m.withdrawn, scoringCheck, "of a model that was not withdrawn"),
		c.shown(used == b.Used && today == b.Today, scoringCheck, "with every customer counted"))
}

// scoringAnswered: an allowed one ends once, in an answer or a fault.
func (c *checker) scoringAnswered(b ScoringAnsweredBody) error {
	s := c.scoring.asked[b.Scoring]
	if s == nil {
		return c.shown(false, scoringCheck, "of one that was decided")
	}
	before := s.ended
	s.ended = true
	return all(c.want(s.Allow && !before, scoringCheck, "of one that was allowed, once"), c.shown(s.metered, scoringCheck, "metered before it was computed"),
		c.want(len(b.Engine) == sm.Size && (len(b.Answer) == sm.Size) == (b.Fault == "") && (b.Fault != "" || len(b.Answer) > 0), scoringCheck, "an answer or a fault, by an engine that was looked at"))
}

// scoringMetered holds usage to what was asked: customers in brackets of powers of two.
func (c *checker) scoringMetered(b UsageMeteredBody) error {
	s := c.scoring.asked[b.Question]
	if b.Product != scoringProduct {
		return c.want(s == nil, "usage", "a scoring is metered as one")
	}
	if s == nil {
		return c.shown(false, "usage", "of a scoring that was decided")
	}
	s.metered = true
	bracket := int64(1)
	for bracket < s.Customers {
		bracket *= 2
	}
	who, known := c.identities[s.Asker]
	return c.want(s.Allow && b.Quantity == bracket && b.Scenario == s.Scenario && (!known || b.Party == who.Party), "usage", "of an allowed scoring, by its bracket of customers")
}
