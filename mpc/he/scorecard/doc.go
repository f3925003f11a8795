// Package scorecard is what a scoring model is outside the engine (密态评分模型): its form, which askers know; its weights and bias, which are
// a secret of its owner and the domain; the commitment that binds both in evidence; and an asker's customers in CSV, held to the form before
// anything is encrypted. 依据: 龙华区实施方案 六(二)2 实施机构准入.
//
// The form is a attest.ScoringModelFiling: name, version, link, features with units and ranges. The secret is JSON {weights, bias, salt}, 32
// random bytes of salt; it travels sealed to the domain's encryption key under Context, and rests sealed. The commitment is HMAC-SM3 of it under the
// salt. Features outside their range are refused, never clipped.
//
// Errors are *sandbox.Error, or *he.Refused for a model that encrypted scoring cannot run; they name line, column and rule, never a value.
package scorecard
