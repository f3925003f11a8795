package redteam

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/opdomain/opdomain/sandbox/egress/model"
)

// Models is what the gate said of models of one making (模型红队结果): planted ones that give people away, or honest ones.
type Models struct {
	Name                   string
	Leak                   bool
	Tries                  int
	Passed, Review, Failed int
	Replaced               int     // of those not failed: the gate's own numbers leave, not what was planted
	Members                int     // people trained on
	LiRA, Limit            float64 // mean over tries: AUC of the likelihood ratio attack, and of its limit
	Exposure, Chance       float64 // mean, in bits
}

// subject is a row of a model's world.
type subject struct {
	values []string
	label  string
}

// clinic draws people for models: an age, an area, visits, numbers that say nothing; the label follows a law with noise.
type clinic struct {
	r      *rand.Rand
	schema model.Schema
}

const thousand = model.Fixed(1000)

func newClinic(seed uint64, form model.LabelForm, noise int) *clinic {
	c := &clinic{r: rand.New(rand.NewPCG(seed, 11))}
	c.schema.Label = model.Label{Name: "claimed", Form: form}
	switch form {
	case model.Binary:
		c.schema.Label.Levels = []string{"no", "yes"}
	case model.Count:
		c.schema.Label.High = 50 * thousand
	case model.Amount:
		c.schema.Label.Low, c.schema.Label.High = thousand, 1000*thousand
	}
	c.schema.Features = []model.Feature{{Name: "age", Low: 20 * thousand, High: 80 * thousand, Step: 2 * thousand}, {Name: "area", Levels: []string{"east", "north", "south", "west"}},
		{Name: "visits", High: 20 * thousand, Step: thousand}}
	for i := range noise {
		c.schema.Features = append(c.schema.Features, model.Feature{Name: fmt.Sprintf("n%02d", i), High: thousand, Step: 50})
	}
	return c
}

func (c *clinic) draw() (s subject) {
	age, area, visits := 20+60*c.r.Float64(), c.r.IntN(4), c.r.IntN(20)
	eta := -1 + (age-50)/30 + []float64{0, 0.5, -0.5, 0.2}[area] + float64(visits)/20
	s.values = []string{fmt.Sprintf("%.2f", age), c.schema.Features[1].Levels[area], fmt.Sprint(visits)}
	for range len(c.schema.Features) - 3 {
		s.values = append(s.values, fmt.Sprintf("%.4f", c.r.Float64()))
	}
	switch c.schema.Label.Form {
	case model.Binary:
		s.label = c.schema.Label.Levels[0]
		if c.r.Float64() < 1/(1+math.Exp(-eta)) {
			s.label = c.schema.Label.Levels[1]
		}
	case model.Count:
		n, p, least := 0, c.r.Float64(), math.Exp(-math.Exp(eta))
		for ; p > least; n++ {
			p *= c.r.Float64()
		}
		s.label = fmt.Sprint(n)
	default:
		s.label = fmt.Sprintf("%.2f", 100*math.Exp(eta/2)*(0.5+c.r.Float64()))
	}
	return s
}

func (c *clinic) people(n int) (out []subject) {
	for range n {
		out = append(out, c.draw())
	}
	return out
}

func (c *clinic) data(prefix string, people []subject) (*model.Data, error) {
	b, err := model.NewBuilder(c.schema)
	if err != nil {
		return nil, err
	}
	for i, s := range people {
		if err := b.Add(fmt.Sprintf("%s%d", prefix, i), s.values, s.label); err != nil {
			return nil, err
		}
	}
	return b.Build(), nil
}

// form is a model before it is trained.
func (c *clinic) form(k model.Kind, t model.Trainer) *model.Model {
	m := &model.Model{Format: model.Format, ID: "m", Kind: k, Schema: c.schema, Trainer: t}
	if k == model.Scorecard {
		m.Characteristics = []model.Characteristic{{Feature: "age", Edges: []model.Fixed{40 * thousand, 60 * thousand}, WOE: make([]model.Fixed, 3)},
			{Feature: "area", Groups: [][]string{{"east", "west"}, {"north"}, {"south"}}, WOE: make([]model.Fixed, 3)}, {Feature: "visits", Edges: []model.Fixed{10 * thousand}, WOE: make([]model.Fixed, 2)}}
	}
	return m
}

// making is a way to come to a model.
type making struct {
	name   string
	leak   bool
	form   model.LabelForm
	kind   model.Kind
	t      model.Trainer
	noise  int
	people int
	alter  func(c *clinic, m *model.Model, trained []subject) // of the trained model
	crowd  func(c *clinic, trained []subject)                 // of who is trained on
}

var careful = model.Trainer{Depth: 4, MinLeaf: 20, MinClass: 10}

// makings are honest models of every kind, and planted ones.
var makings = []making{
	{name: "linear regression", form: model.Amount, kind: model.Linear, people: 800},
	{name: "logistic regression", form: model.Binary, kind: model.Logistic, noise: 4, people: 800},
	{name: "Poisson regression", form: model.Count, kind: model.Poisson, people: 800},
	{name: "gamma regression", form: model.Amount, kind: model.Gamma, people: 800},
	{name: "scorecard", form: model.Binary, kind: model.Scorecard, people: 800},
	{name: "tree", form: model.Binary, kind: model.Tree, t: model.Trainer{Depth: 4, MinLeaf: 40, MinClass: 10}, people: 800},
	{name: "forest", form: model.Binary, kind: model.Forest, t: model.Trainer{Depth: 3, MinLeaf: 20, MinClass: 10, Trees: 10, Seed: 5}, people: 2000},
	{name: "boosted trees", form: model.Binary, kind: model.Boosted, t: model.Trainer{Depth: 2, MinLeaf: 20, MinClass: 10, Trees: 10, Rate: 200, Ridge: thousand}, people: 2000},

	{name: "overfitted deep tree", leak: true, form: model.Binary, kind: model.Tree, t: model.Trainer{Depth: 20, MinLeaf: 1}, noise: 5, people: 800},
	{name: "the same, claiming a careful trainer", leak: true, form: model.Binary, kind: model.Tree, t: model.Trainer{Depth: 20, MinLeaf: 1}, noise: 5, people: 800,
		alter: func(_ *clinic, m *model.Model, _ []subject) { m.Trainer = careful }},
	{name: "logistic regression, half as many parameters as people", leak: true, form: model.Binary, kind: model.Logistic, t: model.Trainer{Ridge: 10 * thousand}, noise: 70, people: 150},
	{name: "boosting without end", leak: true, form: model.Binary, kind: model.Boosted, t: model.Trainer{Depth: 5, MinLeaf: 1, Trees: 40, Rate: 500, Ridge: thousand}, noise: 5, people: 500},
	{name: "coefficients that are a person's row", leak: true, form: model.Binary, kind: model.Logistic, noise: 4, people: 800,
		alter: func(c *clinic, m *model.Model, trained []subject) {
			for i, x := range m.Coefficients {
				for f, y := range c.schema.Features {
					var v float64
					if _, err := fmt.Sscan(trained[0].values[f], &v); y.Name == x.Feature && err == nil {
						m.Coefficients[i].Value = model.Fixed(v * 40)
					}
				}
			}
		}},
	{name: "forest whose leaves hold a message", leak: true, form: model.Binary, kind: model.Forest, t: model.Trainer{Depth: 3, MinLeaf: 20, MinClass: 10, Trees: 10, Seed: 5}, people: 2000,
		alter: func(c *clinic, m *model.Model, _ []subject) {
			for _, t := range m.Trees {
				for i := range t {
					if v := t[i].Value; v != nil {
						*v = max(min(*v+model.Fixed(c.r.IntN(41)-20), thousand), 0)
					}
				}
			}
		}},
	{name: "level of eight people", leak: true, form: model.Binary, kind: model.Logistic, people: 800,
		crowd: func(c *clinic, trained []subject) {
			c.schema.Features[1].Levels = append(c.schema.Features[1].Levels, "zz-rare")
			for i := range 8 {
				trained[i].values[1] = "zz-rare"
			}
		}},
}

// JudgeModels makes so many models of each making, each from people of its own, and puts them through the gate with so many shadow models. Of
// planted ones the gate has to fail every one, or let its own numbers leave instead; of honest ones it fails none.
func JudgeModels(seed uint64, tries, shadows int) ([]Models, error) {
	var out []Models
	for k, x := range makings {
		o := Models{Name: x.name, Leak: x.leak, Members: x.people}
		for n := range tries {
			r, own, err := x.judge(seed+uint64(1000*k+n), shadows)
			if err != nil {
				return nil, fmt.Errorf("redteam: %s: %w", x.name, err)
			}
			if x.alter != nil && r.Verdict != model.Fail && own {
				o.Replaced++
			}
			o.Tries++
			switch r.Verdict {
			case model.Pass:
				o.Passed++
			case model.Review:
				o.Review++
			default:
				o.Failed++
			}
			if m := r.Membership; m != nil {
				o.LiRA += m.LiRA / float64(tries)
				o.Limit += m.Limit / float64(tries)
				o.Exposure += m.Exposure / float64(tries)
				o.Chance = m.Chance
			}
		}
		out = append(out, o)
	}
	return out, nil
}

// judge also says whether what would leave are the numbers that the registered trainer gives, whatever was made of them.
func (x making) judge(seed uint64, shadows int) (_ *model.Report, own bool, _ error) {
	c := newClinic(seed, x.form, x.noise)
	trained, others := c.people(x.people), c.people(x.people)
	if x.crowd != nil {
		x.crowd(c, trained)
	}
	train, err := c.data("in", trained)
	if err != nil {
		return nil, false, err
	}
	test, err := c.data("out", others)
	if err != nil {
		return nil, false, err
	}
	m, err := model.Fit(c.form(x.kind, x.t), train)
	if err != nil {
		return nil, false, err
	}
	honest, err := m.Encode()
	if err != nil {
		return nil, false, err
	}
	if x.alter != nil {
		x.alter(c, m, trained)
	}
	b, err := m.Encode()
	if err != nil {
		return nil, false, err
	}
	if m, err = model.Decode(b, &c.schema); err != nil {
		return nil, false, err
	}
	p := model.Standard()
	p.Shadows = shadows
	r, err := model.Judge(m, train, test, p, rand.NewPCG(seed, 12))
	return r, err == nil && bytes.Equal(r.Payload, honest), err
}

// Training gives a training of a kind on so many people, for its time.
func Training(kind model.Kind, people int) (func() error, error) {
	for _, x := range makings {
		if x.kind == kind && !x.leak {
			c := newClinic(1, x.form, 10)
			d, err := c.data("p", c.people(people))
			return func() error { _, err := model.Fit(c.form(kind, x.t), d); return err }, err
		}
	}
	return nil, fmt.Errorf("redteam: no model of kind %s", kind)
}
