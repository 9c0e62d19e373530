// Package emulator is the Clips Export API, and the calls around it, as a server: for developing against
// it without a key, and for tests that need it to misbehave. It renders nothing;
// what it serves are short samples, each made unique.
//
// One handler has it all:
//
//	/api/v2/clips/export, …/{taskId}   the API (also under /open/v2)
//	/api/v2/clips, /clips/find-moments, /summaries, /transcripts, …/results/{taskId}
//	/api/v2/upload/single-file         where to PUT a small file
//	/cdn/export/…, /cdn/thumb/…        where the links of its answers lead
//	/_emulator/                        a page for people
//	/_emulator/state                   what was submitted, asked and refused, as JSON
//	/_emulator/faults                  faults to order: GET, POST, DELETE
//	/_emulator/limits                  the limits: GET, PUT
//
// Everything follows from the seed, the order of requests and the clock. There
// are no goroutines and no timers: how far an export has come is computed when
// somebody asks.
//
// What the API page leaves open is decided here, as what is known of the provider
// suggests, and none of it should be relied on:
//
//   - A request is counted against the rate limit once its key is accepted,
//     whether it then succeeds or not, and not when the limit refuses it. The
//     links are not limited.
//   - Each key has limits of its own.
//   - An export is charged when it is accepted; expire_at and cost_usage stand in
//     each read, clips is an empty list until the first is ready, and a failed
//     export lists none.
//   - Every project can be exported. It has 3 to 12 clips, unless its id says
//     otherwise (see [SampleProject]); clip_indices may name any below 100,000.
//     Only one that was made here, by POST /api/v2/clips, can be read, as a
//     preflight does, unless Options.AnyProject is set: of any other, a read
//     answers 404.
//   - A field that the page doesn't have is refused of an export, and ignored by
//     the other calls.
//   - The limits are for tasks of all calls together. A task with enable_export
//     turns SUCCEEDED while some of its clips, or all, are still rendered: they
//     appear one by one, and nothing says how many will come.
//   - An export of a project that was made here has that one's clips.
//   - Links answer ranges, If-Range and HEAD, with a strong ETag that is no hash
//     of the content.
//
// It is not a model of the provider's speed: see [Render].
package emulator
