// Package api is the domain's HTTP interface (域接口): the OpenAPI 3.1 document, the server's routes and the client generated
// from it, the check of signed requests, the table of who may call what, metrics and logs. It carries requests to a
// Service; it computes nothing, holds no keys and cannot reach the vault, the engine or the key files.
//
// A request passes, in this order: route; signature over method, authority, path, query, content type, body digest, key
// id, created, expires and nonce (RFC 9421 shape, SM2 with SM3); role table; body within its bound and equal to its digest;
// nonce never seen; strict decoding; Service. The digest of a pushed body is that of the push's opening, since sealed
// frames are bound to the opening and their length is not known when the request is signed.
//
// Errors are application/problem+json. A kind gives the status; causes from other libraries are not repeated. Refusals
// that depend on data, and every refusal of a claim query, are one code without detail, and questions and claims answer
// after Config.Slot, twice it, four times it and so on, so that a hit, a miss and a refusal take equally long. How long a
// computation took shows in nothing but which of these it was.
//
// Logs carry method, route, status, identity and duration, never a path, query or value. Metrics that depend on data are
// rounded up to steps and are given to callers on the machine itself only, which the agency runs.
//
// A Server is a front end (HTTP, sizes, rates of addresses) before a Core (signature, role, rates of identities, nonce,
// operation), joined by Core.Do; see Call for what may cross. Rates and bounds are Limits, answered 429 or 503.
//
// Text of a question in SQL is compiled by the front end (FrontConfig.Compile), once the Core has proven who signed it and said
// which datasets that caller may see; the Core does not look at the text, and the compiled question is asked by a request
// of its own, which its asker signs.
//
// It does not make TLS certificates or listeners, HTTP/2 or paging. A reverse proxy keeps the Host header, which is signed.
//
// Regenerate after a change of openapi.yaml; the generator is pinned in deploy/tools/go.mod.
package api

//go:generate go tool -modfile=../../deploy/tools/go.mod oapi-codegen -config oapi-codegen.yaml openapi.yaml
