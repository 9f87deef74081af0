// A metrics plugin written with Docker's own Go helpers. When it is told to start it fetches the engine's numbers, from
// then on once in a while, and says what it found.
package main

import (
	"bufio"
	"context"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/docker/go-plugins-helpers/sdk"
)

const socket = "/run/docker/metrics.sock"

var client = http.Client{
	Timeout: 5 * time.Second,
	Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	},
}

func look() {
	answer, err := client.Get("http://engine/metrics")
	if err != nil {
		log.Print(err)
		return
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "engine_daemon_container_states_containers{state=\"running\"}") {
			log.Print(lines.Text())
		}
	}
}

func main() {
	handler := sdk.NewHandler(`{"Implements": ["MetricsCollector"]}`)
	var once sync.Once
	handler.HandleFunc("/MetricsCollector.StartMetrics", func(w http.ResponseWriter, r *http.Request) {
		log.Print("started")
		once.Do(func() {
			go func() {
				for {
					look()
					time.Sleep(200 * time.Millisecond)
				}
			}()
		})
		sdk.EncodeResponse(w, struct{}{}, false)
	})
	handler.HandleFunc("/MetricsCollector.StopMetrics", func(w http.ResponseWriter, r *http.Request) {
		log.Print("stopped")
		sdk.EncodeResponse(w, struct{}{}, false)
	})
	log.Fatal(handler.ServeUnix("gometrics", 0))
}
