// Package model is class D before the gate (模型出域审查): it reads a trained model to a declared form, holds it to rules on the rows it was trained
// on, trains shadow models itself and attacks the model with them, and writes the bytes that may leave.
//
//	JSON ─ Decode → Model ─ Judge(training rows, test rows): structure → the gate's own training → shadow models → Report, Payload
//
// Forms (Kind): linear, logistic, Poisson and gamma regressions (log link), scorecards with weights of evidence, a decision tree, a forest,
// boosted trees. Models that keep rows (support vectors, neighbours, Gaussian processes) are refused by name, others as unknown.
//
// The schema is registered: label, features, ranges, levels, grid of thresholds. Numbers of a model are whole thousandths within bounds (Fixed),
// lists stand in the schema's order, nodes in preorder, trees in the order of their bytes: one model has one encoding, and NaN, -0, low
// digits, orders and unreached nodes carry nothing. What the gate can compute it writes itself: coefficients and weights of evidence of a model that
// its own training confirms, the values of a single tree's leaves, the people of all leaves (to base 5). Bits counts what the rest may hold.
//
// Rules; people are distinct subjects, T is MinSubjects. A number that fails keeps the model in; a review is for the two reviewers:
//
//	degrees-of-freedom    people less parameters under 10                                          ACRO
//	events-per-parameter  people of the rarer outcome per coefficient under 5; under 10 review     Peduzzi 1996, Vittinghoff 2007
//	frequency             a leaf, a level, a side of a number under T people                       SACRO-ML
//	min-leaf              a trainer set to leaves under 5                                          SACRO-ML
//	class                 under T people, or none, of a class in a leaf or a scorecard's bin       SACRO-ML
//	                      in a level of a logistic regression: none; under T people review
//	dominance             of amounts: (n,k) in a leaf, or all equal                                ACRO
//	separation            labels follow from features without error, or a fit without end          Albert and Anderson 1984
//	influence             a coefficient moves by more than a standard error without one person    Belsley, Kuh and Welsch 1980
//	leverage              one person makes more than half of its own prediction                    Huber 1981
//	fit                   the data refute the numbers (likelihood ratio, 0.999), leaves off by 0.05
//	reproduction          the registered trainer gives another model: review
//	free-bits             more bits than 256 that the gate's own training does not confirm
//	bits                  more declared bits than the cap
//	distribution          losses of training and test differ, KS p < 0.001; < 0.05 review          SACRO-ML
//	membership-*          AUC of an attack above 0.5+3sd, by loss, trained worst case, LiRA        SACRO-ML; Carlini 2022
//	membership-tpr        true positives at a false positive rate of 0.001 are more than chance's
//	canary                rows nobody has, put into shadow trainings, are told from others         Carlini 2019
//
// An attack's AUC between 0.5+3sd and Params.Tolerated is a review: both the trace that a fit keeps of a person and chance shrink with the root of
// the people, so that honest models of many parameters are always told from chance, by an AUC near a half.
//
// Units: bits, people, AUC in 0 to 1. Randomness is passed in (Source); trainers are deterministic. Errors are sandbox.Invalid, Denied or TooLarge,
// naming place and rule, never a value. It imports neither log nor net, reads no file and keeps no clock.
//
// Not done: combinations of several models on the same people, and of a forest's trees with each other, are not solved for (the attacks measure
// what they give away together); influence is one Newton step, not a refit.
package model
