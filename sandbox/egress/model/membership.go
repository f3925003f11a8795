package model

import (
	"math"
)

// Membership (成员推断评估) is what attacks on the model reach, measured by the gate. Scores are per person, over all of a person's rows.
type Membership struct {
	Shadows  int     `json:"shadows"`
	Members  int     `json:"members"`
	Others   int     `json:"others"`
	Limit    float64 `json:"limit"` // of an AUC: 0.5 + 3 sd
	Loss     float64 `json:"loss"`  // AUC by loss alone
	Trained  float64 `json:"worst_case"`
	LiRA     float64 `json:"lira"`
	FPR      float64 `json:"fpr"` // reached, at most 0.001
	TPR      float64 `json:"tpr"`
	TPRLow   float64 `json:"tpr_low"` // 95 % interval
	TPRHigh  float64 `json:"tpr_high"`
	Exposure float64 `json:"exposure"` // of canaries, in bits
	Chance   float64 `json:"exposure_by_chance"`
	ByHeart  float64 `json:"exposure_by_heart"` // of a model that has them by heart
	Canaries int     `json:"canaries"`          // over all shadow models
}

// references is how many canaries that were not inserted each one is ranked among.
const references = 255

// confidence is a row's in its own label: of a binary label the logit of the probability given to it, else the signed root of the deviance. A
// member's is drawn towards the label. Source: Carlini et al., Membership Inference Attacks From First Principles (2022).
func confidence(c *compiled, d *Data, row int) float64 {
	mu, y := c.predict(d, row), d.y[row]
	if c.kind.probability(c.schema.Label) {
		e := 1e-6
		if c.kind == Tree || c.kind == Forest {
			e = 0.5 / one // of a leaf's rounding
		}
		if y < 0.5 {
			mu = 1 - mu
		}
		mu = max(min(mu, 1-e), e)
		return math.Log(mu / (1 - mu))
	}
	return math.Copysign(math.Sqrt(max(loss(c.kind, y, mu), 0)), y-mu)
}

// loss of a row.
func loss(k Kind, y, mu float64) float64 {
	if k == Tree || k == Forest {
		return deviance(Linear, y, mu)
	}
	return deviance(k, y, mu)
}

// mine is a person's mean over rows.
func mine(d *Data, s int, of func(row int) float64) float64 {
	from, to := d.rows(s)
	sum := 0.0
	for r := from; r < to; r++ {
		sum += of(r)
	}
	return sum / float64(to-from)
}

// tally is a person's confidences over shadow models that had it, or had it not.
type tally struct{ n, sum, squares float64 }

func (t *tally) add(v float64) { t.n++; t.sum += v; t.squares += v * v }

func (t *tally) mean() float64 { return t.sum / max(t.n, 1) }

// spread is the sum of squares about the mean.
func (t *tally) spread() float64 { return max(t.squares-t.sum*t.sum/max(t.n, 1), 0) }

// ownVariance is from how many shadow models on each person has a variance of its own; before, all share one. Source: Carlini et al. 2022, IV.C.
const ownVariance = 64

// membership attacks what would leave, and trains shadow models by the registered trainer: each on half of the people, drawn in pairs that are
// each other's complement, so that everybody is in half of them. All rows of a person are in or out together.
func (j *judging) membership(out *Model) error {
	members, others := j.train.Subjects(), j.test.Subjects()
	all := pool(j.train, j.test, j.p.Canaries+references)
	people := members + others
	target := out.compile()
	r := &Membership{Shadows: j.p.Shadows, Members: members, Others: others, Limit: aucLimit(members, others)}
	j.r.Membership = r

	in, not := make([]tally, people), make([]tally, people)
	which := make([]bool, all.Subjects())
	order := make([]int, people)
	for i := range order {
		order[i] = i
	}
	var canaries exposed
	for k := range j.p.Shadows {
		if k%2 == 0 {
			for i := range people {
				x := i + int(j.rnd.Uint64()%uint64(people-i))
				order[i], order[x] = order[x], order[i]
			}
		}
		clear(which)
		for i, s := range order {
			which[s] = (i < people/2) == (k%2 == 0)
		}
		for c := range j.p.Canaries {
			which[people+c] = true
		}
		for c := range j.p.Canaries + references {
			j.canary(all, int(all.first[people+c]))
		}
		shadow, _, err := j.m.fit(all, all.of(which))
		if err != nil {
			return err
		}
		m := shadow.compile()
		for s := range people {
			v := mine(all, s, func(row int) float64 { return confidence(m, all, row) })
			if which[s] {
				in[s].add(v)
			} else {
				not[s].add(v)
			}
		}
		j.expose(&canaries, m, all, people)
	}

	// LiRA, online: how much likelier the target's confidence is of a model that had the person than of one that had not.
	scores := make([]scored, people)
	shared := [2]float64{}
	for i, t := range [][]tally{in, not} {
		sum, n := 0.0, 0.0
		for s := range t {
			sum, n = sum+t[s].spread(), n+t[s].n-1
		}
		shared[i] = max(sum/max(n, 1), 1e-9)
	}
	deviation := func(t *tally, i int) float64 {
		if j.p.Shadows < ownVariance {
			return math.Sqrt(shared[i])
		}
		return math.Sqrt(max(t.spread()/(t.n-1), shared[i]/100))
	}
	for s := range people {
		v := mine(all, s, func(row int) float64 { return confidence(target, all, row) })
		a, b := deviation(&in[s], 0), deviation(&not[s], 1)
		x, y := (v-in[s].mean())/a, (v-not[s].mean())/b
		scores[s] = scored{y*y/2 - x*x/2 + math.Log(b/a), s < members}
	}
	r.LiRA = auc(scores)
	allowed := others / 1000
	tp, fp := truePositives(scores, allowed)
	r.TPR, r.FPR = float64(tp)/float64(members), float64(fp)/float64(others)
	r.TPRLow, r.TPRHigh = clopperPearson(tp, members, 0.025)

	losses := make([]scored, people)
	var inside, outside []float64
	for s := range people {
		l := mine(all, s, func(row int) float64 { return loss(target.kind, all.y[row], target.predict(all, row)) })
		losses[s] = scored{-l, s < members}
		if s < members {
			inside = append(inside, l)
		} else {
			outside = append(outside, l)
		}
	}
	_, probability := kolmogorov(inside, outside)
	j.least(RuleDistribution, "", probability, 0.05, 0.001)
	r.Loss = auc(losses)
	r.Trained = j.trained(target, all, members, people)
	tolerated := max(r.Limit, j.p.Tolerated)
	j.most(RuleLoss, "", r.Loss, r.Limit, tolerated)
	j.most(RuleTrained, "", r.Trained, r.Limit, tolerated)
	j.most(RuleLiRA, "", r.LiRA, r.Limit, tolerated)
	low, _ := clopperPearson(tp, members, 0.0005) // both bounds at once at one in a thousand
	_, high := clopperPearson(fp, others, 0.0005)
	j.most(RuleTPR, "", low, high, high)
	j.exposure(r, &canaries)
	return nil
}

// trained is the worst case of SACRO-ML: an attacker who knows for many people whether they were trained on learns it for the others from
// probability, label and loss. Cross-fitted over two halves, and drawn five times.
func (j *judging) trained(target *compiled, all *Data, members, people int) float64 {
	schema := Schema{Label: Label{Name: "member", Form: Binary, Levels: []string{"no", "yes"}}}
	for _, n := range []string{"prediction", "label", "loss"} {
		schema.Features = append(schema.Features, Feature{Name: n, High: one, Step: one / 50})
	}
	columns := make([][]float64, 3)
	for s := range people {
		columns[0] = append(columns[0], mine(all, s, func(r int) float64 { return target.linear(all, r) }))
		columns[1] = append(columns[1], mine(all, s, func(r int) float64 { return all.y[r] }))
		columns[2] = append(columns[2], mine(all, s, func(r int) float64 { return loss(target.kind, all.y[r], target.predict(all, r)) }))
	}
	d := &Data{schema: &schema, x: make([]float64, 3*people), bin: make([]uint16, 3*people), y: make([]float64, people)}
	for f, c := range columns {
		for s, q := range ranked(c) {
			d.bin[3*s+f] = uint16(min(int(q*50), 49))
		}
	}
	for s := range people {
		d.first, d.who = append(d.first, int32(s)), append(d.who, int32(s))
		if s < members {
			d.y[s] = 1
		}
	}
	d.first = append(d.first, int32(people))
	form := &Model{Format: Format, ID: "attack", Kind: Tree, Schema: schema, Trainer: Trainer{Depth: 4, MinLeaf: max(10, people/100)}}
	total := 0.0
	const draws = 5
	for range draws {
		side := make([]bool, people)
		for s := range side {
			side[s] = j.rnd.Uint64()>>63 == 1
		}
		for fold := range 2 {
			var learn []int32
			for s := range people {
				if side[s] == (fold == 0) {
					learn = append(learn, int32(s))
				}
			}
			m, _, err := form.fit(d, learn)
			if err != nil || len(learn) == 0 {
				return 1 // cannot be: a small tree of three features
			}
			c := m.compile()
			var scores []scored
			for s := range people {
				if side[s] != (fold == 0) {
					scores = append(scores, scored{c.linear(d, s), s < members})
				}
			}
			total += auc(scores)
		}
	}
	return total / (2 * draws)
}
