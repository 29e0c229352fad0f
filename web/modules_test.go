package web_test

import (
	_ "embed"
	"net/http/httptest"
	"testing"

	"github.com/thronghq/throng/web"
)

var (
	//go:embed testdata/fakes.js
	fakes string

	//go:embed testdata/stream_tests.js
	streamTests string

	//go:embed testdata/people_tests.js
	peopleTests string
)

// The page's modules, each by itself, with no server but the one that serves
// the files.
func TestModules(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(web.Handler())
	t.Cleanup(server.Close)
	window := startBrowser(t).open("page", server.URL+"/")

	type result struct {
		Name  string `json:"name"`
		Error string `json:"error"`
	}
	var results []result
	window.eval(`(async () => {
		const [connection, room, timeline, files, uploads, members, conversations] = await Promise.all(
			["connection", "room", "timeline", "files", "uploads", "members", "conversations"].map((name) => import("/" + name + ".js")));
		`+fakes+`
		const tests = {...(() => {`+streamTests+`})(), ...(() => {`+peopleTests+`})()};
		const results = [];
		for (const [name, test] of Object.entries(tests)) {
			let error = "";
			try { await test(); } catch (thrown) { error = String(thrown.stack); }
			results.push({name, error});
		}
		return results;
	})()`, &results)
	if len(results) < 30 {
		t.Fatalf("only %d tests of the modules ran: %v", len(results), results)
	}
	for _, r := range results {
		t.Run(r.Name, func(t *testing.T) {
			if r.Error != "" {
				t.Error(r.Error)
			}
		})
	}
}
