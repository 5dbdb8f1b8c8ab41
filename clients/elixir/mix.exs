defmodule Paraxial.MixProject do
  use Mix.Project

  def project do
    [
      app: :paraxial,
      version: "0.1.0",
      elixir: "~> 1.14",
      description: "Reports events to paraxiald, asks for verdicts and bans",
      deps: []
    ]
  end

  def application, do: [extra_applications: [:logger]]
end
