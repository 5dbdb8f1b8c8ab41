defmodule Paraxial.Plug.Conn do
  @moduledoc false
  # What plugs do with a connection. Plug itself is used if it is there.

  @plug :"Elixir.Plug.Conn"

  def refuse(conn, status) do
    if plug?(conn) do
      @plug |> apply(:send_resp, [conn, status, ""]) |> then(&apply(@plug, :halt, [&1]))
    else
      %{conn | status: status, halted: true}
    end
  end

  @doc "Calls f with the connection before the answer is sent. Needs Plug."
  def before_send(conn, f), do: apply(@plug, :register_before_send, [conn, f])

  defp plug?(conn), do: is_struct(conn, @plug) and Code.ensure_loaded?(@plug)
end
