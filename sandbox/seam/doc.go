// Package seam joins the two processes of a domain (前端与核心进程之间的接口): the front end, which faces the network and parses
// HTTP, and the core, which holds keys, vault, engines and the gate. They run as two users; between them is one local socket.
//
// What crosses it is an api.Call and an api.Answer and nothing else of an HTTP request: no cookie, no forwarding header, no
// upgrade, no second value of a header.
//
//	frame   uint32 length, big endian, then that many bytes; 2^32-1 in the place of a length: the body broke off
//	call    one frame of JSON; when the core says 'b', body frames of at most 64 KiB, then an empty frame
//	answer  'a', one frame of JSON, body frames, then an empty frame, or 2^32-2 when the connection ends too
//
// One call at a time runs on a connection, which is kept for the next one. Both sides ask the kernel for the user at the
// other end. The core believes nothing the front end says about who is calling: signatures, roles, nonces and body digests
// are checked behind the seam. A front end that lies can refuse service, and can show an answer only to whom it was already
// on its way.
//
// Errors are Unavailable for a side that is gone, Denied for a stranger, Invalid for a frame out of place, TooLarge for a head
// above 64 KiB. Rates and sizes of requests are judged by package api, on both sides.
package seam
