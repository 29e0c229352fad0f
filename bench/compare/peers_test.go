package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPeersReport(t *testing.T) {
	sample := func(cell, side string, round int, result string) run {
		one := sampleRun(t, cell, side, result)
		one.Round = round
		return one
	}
	runs := []run{
		sample(peersOne, sideThrong, 0, `{"server":{"cpu_us_per_delivery":4}}`),
		sample(peersOne, sideFloor, 0, `{"server":{"cpu_us_per_delivery":4},"limited_by":"generator"}`),
		sample(peersOne, "gws", 0, `{"server":{"cpu_us_per_delivery":6},"violations":{"lost":2,"order":1}}`),
		sample(peersOne, sideThrong, 1, `{"server":{"cpu_us_per_delivery":3}}`),
		sample(peersOne, sideFloor, 1, `{"server":{"cpu_us_per_delivery":2}}`),
		sample(peersOne, "gorilla", 1, `{"server":{"cpu_us_per_delivery":6}}`), // its first round failed
		sample(peersFour, sideThrong, 0, `{"server":{"cpu_us_per_delivery":3}}`),
		sample(peersFour, sideBatch, 0, `{"server":{"cpu_us_per_delivery":2}}`),
		sample(peersFour, "gorilla", 0, `{"server":{"cpu_us_per_delivery":2.5}}`),
		sample(peersConn, sideThrong, 0, `{"connections":{"idle_pss_bytes":600,"cpu_us_per_open":60}}`),
		sample(peersConn, sideFloor, 0, `{"connections":{"idle_pss_bytes":160,"cpu_us_per_open":20}}`),
		sample(peersConn, "gws", 0, `{"connections":{"idle_pss_bytes":9000,"cpu_us_per_open":40}}`),
	}
	report := newPeersReport(runs, []peer{{name: "gws"}, {name: "gorilla"}})
	dir := filepath.Join(t.TempDir(), "results")
	if err := report.write(dir); err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile(filepath.Join(dir, "peers.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| | throng | gws | gorilla |\n|---|---:|---:|---:|\n",
		"to the one-by-one floor's | **1.25** | 1.50 | 3.00 |\n",
		"to the one-by-one floor's | 1.00 to 1.50 | 1.50 to 1.50 | 3.00 to 3.00 |\n",
		"to the batching floor's | 1.50 | not measured | **1.25** |\n",
		"to the floor's | 3.00 | **2.00** | not measured |\n",
		"PSS, bytes | **600** | 9000 | not measured |\n",
		"- throng (1.50) does not lead in \"the same with 4 outstanding, to the batching floor's\": gorilla (1.25).\n",
		"- throng (3.00) does not lead in \"opening a connection and joining: CPU, to the floor's\": gws (2.00).\n",
		"- In 1 of 12 runs the generator was the limit",
		"- gws lost, repeated or reordered 3 messages.\n",
	} {
		if !strings.Contains(string(table), line) {
			t.Errorf("the table lacks %q:\n%s", line, table)
		}
	}
	if n := strings.Count(string(table), "does not lead"); n != 2 {
		t.Errorf("throng does not lead in %d rows, want 2:\n%s", n, table)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "peers.json"))
	if err != nil {
		t.Fatal(err)
	}
	var again peersReport
	if err := json.Unmarshal(raw, &again); err != nil || len(again.Runs) != len(runs) || !slices.Equal(again.Names, report.Names) {
		t.Errorf("peers.json: %d runs of %v, %v", len(again.Runs), again.Names, err)
	}
}

// TestPeersCellsHaveWhatTheTableNeeds runs no benchmark: every server has a run
// for every row, and every kind of server a command.
func TestPeersCellsHaveWhatTheTableNeeds(t *testing.T) {
	p := full
	p.Peers, p.Node = "bin/peers", t.TempDir()
	if err := os.Mkdir(filepath.Join(p.Node, "node_modules"), 0o755); err != nil {
		t.Fatal(err)
	}
	found := foundPeers(&p)
	if len(found) < len(goPeers) {
		t.Fatalf("%d peers", len(found))
	}
	var runs []run
	for _, c := range peersCells(&p, found) {
		for round := range c.rounds {
			for _, s := range c.sides {
				result := `{"server":{"cpu_us_per_delivery":1},"connections":{"idle_pss_bytes":1,"after_message_pss_bytes":1,"cpu_us_per_open":1}}`
				one := sampleRun(t, c.name, s.name, result)
				one.Round = round
				runs = append(runs, one)
				if one, ok := s.server.(peerServer); ok && slices.Contains(one, "--collect") != (c.name == peersConn) {
					t.Errorf("%s: %s runs %q", c.name, s.name, one)
				}
			}
		}
	}
	report := newPeersReport(runs, found)
	for _, row := range report.Rows {
		for _, f := range row.Figures {
			foreign := f.Name == "centrifuge" || f.Name == "socket.io" // which have no /echo to upgrade
			if f.Rounds == 0 && !(foreign && strings.HasPrefix(row.Name, "handshake")) {
				t.Errorf("%s of %s is not measured", row.Name, f.Name)
			}
		}
	}
}
