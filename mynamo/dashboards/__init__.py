"""Pictures of Grafana's dashboards, without Grafana: from their JSON and a Prometheus.

dashboard_files     reads the JSON of a dashboard: the part of it that `deploy/grafana` uses
prometheus_api      asks Prometheus
panel_data          what each panel shows of a span of time
panel_units         values with their units, as Grafana writes them
picture_marks       events that a picture shows
picture             draws a dashboard with matplotlib
"""
